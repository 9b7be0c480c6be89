"""Sweeps on throw-away hosts that last long enough to lose something."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.journal import Event, read
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from tests.support.host_sweeps import REFERENCE, ranked

SLOW: dict[str, Any] = {
    **REFERENCE,
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.4}},
}


def whole(net: Any, unbroken: list[tuple[int, float]], *, same_batches: bool = True) -> tuple[list[Event], SweepState]:
    """The journal of the reference sweep, which is that of the unbroken one: the same trials, each ended once.

    ``same_batches``: and the same ranking, to the last digits of what the trials came to.
    """
    run = RunDirectory(net.shared / "runs" / "reference")
    events = list(read(run.journal))
    ended = SweepState(events)
    assert check(run).violations == []
    assert ended.status == "completed"
    finished = sorted(event["trial"] for event in events if event.type == "trial.finished")
    assert finished == [number for number, _ in sorted(unbroken)], "each trial ends once"
    if same_batches:
        assert [number for number, _ in ranked(ended)] == [number for number, _ in unbroken]
        assert dict(ranked(ended)) == pytest.approx(dict(unbroken))
    return events, ended
