"""Records with a right checksum that are no records are refused with their place; others' requests are ignored."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import read
from orchestrator.rundir import RunDirectory

BODIES = {
    "deep": b'{"seq":0,"lease":1,"time":1.0,"type":"x","deep":' + b"[" * 100_000 + b"]" * 100_000,
    "number as text": b'{"seq":"0","lease":1,"time":1.0,"type":"x"',
    "lease is a list": b'{"seq":0,"lease":[1],"time":1.0,"type":"x"',
    "time is true": b'{"seq":0,"lease":1,"time":true,"type":"x"',
    "type is missing": b'{"seq":0,"lease":1,"time":1.0',
    "type is a number": b'{"seq":0,"lease":1,"time":1.0,"type":7',
    "no text": b'{"seq":0,"lease":1,"time":1.0,"type":"\xff\xfe"',
    "huge number": b'{"seq":0,"lease":1,"time":1.0,"type":"x","n":' + b"9" * 10_000,
}


@pytest.mark.parametrize("body", BODIES)
def test_a_forged_record_is_an_error_with_its_place(body: str, tmp_path: Path) -> None:
    content = BODIES[body]
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(content + b',"crc32":"%08x"}\n' % zlib.crc32(content))
    with pytest.raises(JournalError, match=r"byte 0 \(record 0\)"):
        list(read(journal))


def test_only_plain_files_of_this_user_are_requests(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.add_request(run.stop_request())
    run.stop_request(1).mkdir()
    run.stop_request(2).symlink_to(run.stop_request())
    assert run.pending_requests() == {"stop"}


def test_another_user_cannot_steer_a_sweep(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    run = RunDirectory(tmp_path)
    run.add_request(run.stop_request(3))
    os.chown(run.stop_request(3), 65534, 65534)
    assert run.pending_requests() == set()
