"""The journal: what was written is what is read, and what is not is refused by name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import Event, Journal, decode, encode, holder, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda n: n not in ("seq", "lease", "time", "type", "crc32")), JSON))
def test_a_line_reads_back_as_it_was(fields: dict[str, object]) -> None:
    event = Event(3, 1, 12.5, "trial.suggested", fields)
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode(line) == event


def written(path: Path, count: int = 5) -> bytes:
    journal = Journal.create(path)
    for number in range(count):
        journal.append("trial.suggested", trial=number, params={"x": number / 7}, by="random")
    journal.close()
    return path.read_bytes()


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    whole = written(path, 3)
    events = list(read(path))
    for index in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:index] + bytes([whole[index] ^ 1 << bit]) + whole[index + 1 :])
            # Without its last newline the last line is a torn write; every other change is damage.
            try:
                assert list(read(path)) == events[:2], (index, bit)
                assert index == len(whole) - 1
            except JournalError as error:
                named = f"{path} is damaged at byte" in error.message
                assert named


def test_every_truncation_is_a_torn_write_and_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    whole = written(path, 3)
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        intact = sum(end <= length for end in ends)
        journal = Journal.open(path)
        assert len(list(journal.events())) == intact
        assert bool(journal.notice) == (length not in (0, *ends))
        journal.append("sweep.paused", reason="test")
        journal.close()
        assert [event.seq for event in read(path)] == list(range(intact + 1))


def test_a_lost_or_repeated_record_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    lines = written(path, 4).splitlines(keepends=True)
    for damaged in (lines[:1] + lines[2:], lines[:2] + lines[1:], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(JournalError, match="damaged at byte"):
            list(read(path))
        with pytest.raises(JournalError):
            Journal.open(path)
        assert path.read_bytes() == b"".join(damaged), "a damaged journal must not be touched"


def test_a_record_of_an_older_lease_than_the_one_before_it_is_damage(tmp_path: Path) -> None:
    """The late write of a process that had lost its lease, where a file system put it after the new holder's."""
    path = tmp_path / "run" / "journal.jsonl"
    path.parent.mkdir()
    leases = [2, 2, 3, 2]
    lines = [encode(Event(seq, lease, 1.0, "sweep.paused", {"reason": ""})) for seq, lease in enumerate(leases)]
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="seq 3 of lease 2, after 2 of lease 3"):
        list(read(path))
    path.write_bytes(b"".join(lines[:3]))
    assert [event.lease for event in read(path)] == leases[:3]


def test_the_lease_counts_its_holders(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    written(path)
    for lease in (2, 3):
        journal = Journal.open(path)
        assert journal.lease == lease
        journal.append("sweep.paused", reason="test")
        journal.close()


def test_a_second_writer_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="test")
    script = (
        "import sys; from pathlib import Path; from orchestrator.journal import Journal\n"
        "from orchestrator.errors import SweepError\n"
        "try: Journal.open(Path(sys.argv[1]))\n"
        "except SweepError as error: print(error); sys.exit(error.exit_code)"
    )
    other = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert other.returncode == 3
    assert f"process {os.getpid()}" in other.stdout
    assert f"process {os.getpid()}" in str(holder(path))
    journal.close()
    assert holder(path) is None
    with pytest.raises(RunHeldError, match="exists already"):
        Journal.create(path)


def test_a_failed_append_leaves_the_journal_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="first")
    journal.append("sweep.paused", sync=False, reason="not durable yet")
    real = os.write
    monkeypatch.setattr(os, "write", half_and_full(real))
    with pytest.raises(OSError, match="No space left"):
        journal.append("sweep.paused", reason="lost")
    assert [event["reason"] for event in read(path)] == ["first"], "what was not durable is written again, not trusted"
    monkeypatch.undo()
    journal.append("sweep.paused", reason="second")
    journal.close()
    assert [event["reason"] for event in read(path)] == ["first", "not durable yet", "second"]


def half_and_full(real: Callable[[int, memoryview], int]) -> Callable[[int, memoryview], int]:
    """A disk that takes half of what it is given and then nothing."""
    calls = iter(range(9))

    def write(descriptor: int, data: memoryview) -> int:
        if next(calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    return write


def test_patience_tries_the_same_line_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    journal = Journal.create(path)
    real, faults = os.fdatasync, [errno.EIO, errno.ENOSPC]

    def fdatasync(descriptor: int) -> None:
        if faults:
            raise OSError(faults.pop(), "the disk says no")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    asked: list[OSError] = []
    journal.patience = lambda error: not asked.append(error)  # type: ignore[func-returns-value]
    journal.append("sweep.paused", reason="once")
    assert len(asked) == 2
    journal.close()
    assert [event["reason"] for event in read(path)] == ["once"]


def test_lines_are_plain_json_for_any_reader(tmp_path: Path) -> None:
    path = tmp_path / "run" / "journal.jsonl"
    for line in written(path).splitlines():
        assert {"seq", "lease", "time", "type", "crc32"} <= json.loads(line).keys()
