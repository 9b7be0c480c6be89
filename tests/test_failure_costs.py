"""What failures cost, where they happened, and in which words each view says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.segment_runner import attempt
from orchestrator.journal import Event
from orchestrator.results import why
from orchestrator.results.early_stops import count_stopped_early
from orchestrator.results.failure_groups import failure_groups, failure_lines
from orchestrator.results.verdict import verdict
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.training import Job
from tests.support.event_log import spec


class Records:
    """Records of one process, a second of the clock for each unit."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def at(self, time: float, type: str, **fields: Any) -> None:
        self.events.append(Event(len(self.events), 1, time, type, fields))


def state_of(records: Records) -> SweepState:
    fields = spec(scheduler="fifo", budget={"trials": 4}, trainer={"max_epochs": 2}).model_dump(mode="json")
    created = Event(0, 1, 0.0, "sweep.created", {"format": 2, "spec": fields, "seed": 5, "roots": []})
    launched = {"engine": "tune", "slots": 2, "threads": 1, "host": "h", "pid": 1, "hardware": {}}
    begun = [created, Event(1, 1, 0.0, "sweep.launched", launched)]
    rest = (Event(event.seq + 2, event.lease, event.time, event.type, event.fields) for event in records.events)
    return SweepState([*begun, *rest])


def started(records: Records, trial: int, segment: int, time: float, origin: str | None = None) -> None:
    if not segment:
        records.at(time, "trial.suggested", trial=trial, params={}, by="random")
    records.at(time, "segment.started", trial=trial, segment=segment, node="h", origin=origin)


def failing() -> SweepState:
    """Trial 0 fails twice, 10 and 5 s long with 20 s of waiting between; trial 1 is stopped after all its epochs."""
    records = Records()
    started(records, 0, 0, 0)
    error = {"kind": "lost", "message": "first line\nand more", "fingerprint": "f", "place": "net.py:12, in forward"}
    records.at(10, "segment.failed", trial=0, segment=0, **error)
    started(records, 1, 0, 20)
    started(records, 0, 1, 30)
    records.at(35, "segment.failed", trial=0, segment=1, **error)
    records.at(35, "trial.failed", trial=0, segment=1, reason="lost")
    for epoch in (1, 2):
        metrics = {"loss": 0.5}
        records.at(36 + epoch, "segment.reported", trial=1, segment=0, epoch=epoch, progress=epoch, metrics=metrics)
    records.at(40, "trial.stopped", trial=1, segment=0, epoch=2, progress=2, rule="request", why={})
    return state_of(records)


def test_a_failure_costs_the_time_of_its_segment() -> None:
    state = failing()
    (group,) = failure_groups(state)
    assert (group.times, group.seconds, group.first) == (2, 15, (0, 0))
    assert state.busy_seconds(state.trials[0]) == 15
    assert state.busy_seconds(state.trials[1]) == 20
    head, line = failure_lines(state, 5)
    assert head == "failures: 2 segments failed in 1 way, which took 15 s, 43% of the trials' time"
    assert line == "  2 × lost, trial 0: first line and more (at net.py:12, in forward)"
    assert any("failed segments took 15 s" in sentence for sentence in verdict(RunDirectory(Path("r")), state))


def test_words_do_not_contradict_each_other() -> None:
    state = failing()
    failed, full = "\n".join(why(state, 0)), "\n".join(why(state, 1))
    assert "Segment 0 failed at net.py:12, in forward after 10 s (lost): first line and more." in failed
    assert "trials/0000/logs/segment_0.log" in failed
    assert "It ran in 2 segments; the second started from the beginning, since there was no checkpoint." in failed
    assert "rank" not in failed
    assert "resumed" not in failed
    assert "It trained for all its 2 epochs" in full
    assert count_stopped_early(state) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_failure_names_the_line_of_the_users_code(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "0000"
    folder.mkdir(parents=True)
    model = {"class_path": "tests.support.talking.Talking", "init_args": {"fails": True}}
    data = {"class_path": "tests.support.tiny.TinyData", "init_args": {}}
    job = Job(0, 0, 0, "val_loss", model, data, {"accelerator": "cpu"}, str(folder))
    failure = attempt(job, lambda report: True)
    assert failure
    assert failure.message.startswith("RuntimeError: the first line and ")
    assert failure.place.startswith("tests/support/talking.py:")
    assert failure.place.endswith(", in on_fit_start")
    log = (folder / "logs/segment_0.log").read_text()
    first = log.index(f"{failure.message}\nat {failure.place}\n")
    assert log.index("a print") < first < log.index("Traceback")
