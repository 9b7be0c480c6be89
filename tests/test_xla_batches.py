"""Batches of several hosts that XLA takes for one: in step, and every row as often as the hosts have it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT


def read_by_two(shares: list[list[list[int]]]) -> list[dict[str, Any]]:
    """What two processes get, each from its own share of batches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.uneven_shares", str(rank), port], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in running:
        assert process.stdin is not None
        process.stdin.write(json.dumps(shares))
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    return [json.loads(out.partition("{")[1] + out.partition("{")[2]) for out, _ in said]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "kinds"),
    [
        ([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], ["part", "part"]),
        ([[[1, 2], [3]], [[5, 6], [7]]], ["part", "whole"]),  # the last does not divide by the two devices
        ([[[1, 2], [3, 4, 9]], [[5, 6], [7]]], ["part", "whole"]),  # nor are they as many
        ([[[1, 2], [3, 4]], [[5, 6]]], ["part", "whole"]),  # one ends earlier
        ([[], [[5, 6]]], ["whole"]),
    ],
)
def test_uneven_shares_come_in_step(shares: list[list[list[int]]], kinds: list[str]) -> None:
    found = read_by_two(shares)
    assert [one["length"] for one in found] == [len(kinds)] * 2
    for rank, one in enumerate(found):
        x = one["came"][::2]
        assert [kind for kind, _ in x] == kinds
        assert [rows for _, rows in one["came"][1::2]] == [[row * 10 for row in rows] for _, rows in x]
        for step, (kind, rows) in enumerate(x):
            there = [share[step] for share in shares if step < len(share)]
            assert rows == (shares[rank][step] if kind == "part" else [row for rows in there for row in rows])
