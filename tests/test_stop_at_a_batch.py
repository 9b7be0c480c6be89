"""A sweep that is stopped within an epoch continues with the next batch: no optimizer step is taken twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import stop_requests
from orchestrator.journal import read
from orchestrator.results.verify import check
from orchestrator.spec import SweepSpec
from orchestrator.sweep import Outcome, launch, resume
from tests.support.counted_steps import STEPS, steps
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec:FutureWarning")


def counted(log: Path, trials: int = 1, **model: Any) -> SweepSpec:
    """A sweep whose epochs have 64 steps."""
    return spec(
        model={"class_path": "tests.support.counted_steps.CountedSteps", "init_args": {"log": str(log), **model}},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 1}},
        trainer={"max_epochs": 2},
        searcher="random",
        scheduler="fifo",
        budget={"trials": trials},
    )


@pytest.fixture(autouse=True)
def polled_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)


def values(outcome: Outcome) -> list[float]:
    return [report.metrics["val_loss"] for report in outcome.state.trials[0].reports.values()]


def test_a_sweep_that_is_stopped_within_epochs_repeats_no_step(tmp_path: Path) -> None:
    unbroken = launch(counted(tmp_path / "unbroken"), tmp_path / "one", local=True)
    runs, log = tmp_path / "other", tmp_path / "cut"
    outcome = launch(counted(log, run=str(runs / "tiny"), stop_at=(10, 30, STEPS, 100)), runs, local=True)
    drivers = 1
    while outcome.state.status == "paused" and drivers < 9:
        assert outcome.state.reason == "sweep stop"
        outcome = resume("tiny", runs, local=True)
        drivers += 1
    assert drivers == 5
    assert steps(log) == list(range(2 * STEPS)) == steps(tmp_path / "unbroken")
    assert values(outcome) == values(unbroken)
    assert outcome.state.trained == pytest.approx(
        {**unbroken.state.trained, "seconds": outcome.state.trained["seconds"]}
    )
    assert check(outcome.run).violations == []
    left = {path.relative_to(outcome.run.root).as_posix() for path in outcome.run.root.glob("trials/*/checkpoints/*")}
    assert left == {saved.path for saved in outcome.state.trials[0].files}


def test_each_segment_starts_where_the_one_before_was_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = launch(counted(log, run=str(tmp_path / "tiny"), stop_at=(10, 70)), tmp_path, local=True)
    interim = outcome.state.trials[0].interim
    assert interim is not None
    assert (interim.progress, interim.measures["step"], interim.measures["samples"]) == (10 / STEPS, 10, 10)
    assert not outcome.state.trials[0].reports
    for _ in range(2):
        outcome = resume("tiny", tmp_path, local=True)
    started = [event["origin"] for event in read(outcome.run.journal) if event.type == "segment.started"]
    assert [origin and Path(origin).name for origin in started] == [
        None,
        "epoch=0000-batch=000010-segment=0.ckpt",
        "epoch=0001-batch=000006-segment=1.ckpt",
    ]
    assert outcome.state.trials[0].interim is None


def test_a_trial_that_is_to_stop_ends_at_the_next_batch_and_the_sweep_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    described = counted(log, trials=2, run=str(tmp_path / "tiny"), stop_at=(5,), trial=0)
    outcome = launch(described, tmp_path, local=True)
    trials = outcome.state.trials
    assert [trial.status for trial in trials.values()] == ["stopped", "finished"]
    assert trials[0].stopped_by == {"epoch": 0, "progress": 0, "rule": "request"}
    assert trials[0].files == []
    assert not list(outcome.run.trial(0).glob("checkpoints/*"))
    assert len(steps(log)) == 5 + 2 * STEPS
    assert check(outcome.run).violations == []
