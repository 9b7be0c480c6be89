"""Lightning's finders run once a trial; what they found is on record and holds in later segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from orchestrator.engine import stop_requests
from orchestrator.journal import read
from orchestrator.results import why
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from orchestrator.sweep import Outcome, launch, resume
from orchestrator.training import compat_lightning as compat
from tests.support.markers import sampled
from tests.support.small_sweeps import request, spec
from tests.support.tiny import Tiny

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec:FutureWarning")

RATE = {"class_path": "lightning.pytorch.callbacks.LearningRateFinder", "init_args": {"num_training_steps": 30}}
SIZE = {
    "class_path": "lightning.pytorch.callbacks.BatchSizeFinder",
    "init_args": {"max_trials": 2, "init_val": 4, "steps_per_trial": 1},
}
OWN = {"class_path": "tests.support.finding.OwnFinder", "init_args": {"num_training_steps": 30}}


def finding(*finders: Any, epochs: int = 4) -> Any:
    return spec(
        model="tests.support.finding.Found", trainer={"max_epochs": epochs, "callbacks": list(finders)},
        space={"model.fault": {"choice": [""]}}, searcher="random", scheduler="fifo", budget={"trials": 1},
    )  # fmt: skip


def interrupted(described: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Stop after every report, and resume."""
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    run = run_at("tiny", folder)

    def observe(state: SweepState, event: Any) -> None:
        if event.type == "segment.reported":
            request(run)

    outcome = launch(described, folder, local=True, observer=observe)
    while outcome.state.status == "paused":
        outcome = resume("tiny", folder, local=True, observer=observe)
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize(
    "finders", sampled([[RATE], [OWN], [SIZE]], slow=[[RATE], [SIZE]]), ids=["rate", "own", "size"]
)
def test_an_interrupted_trial_with_a_finder_is_the_unbroken_one(
    finders: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = launch(finding(*finders), tmp_path / "unbroken", local=True)
    resumed = interrupted(finding(*finders), tmp_path / "resumed", monkeypatch)
    one, other = unbroken.state.trials[0], resumed.state.trials[0]
    assert other.segments > 1
    assert one.found
    assert one.found == other.found
    assert {e: r.metrics["val_loss"] for e, r in one.reports.items()} == {
        e: r.metrics["val_loss"] for e, r in other.reports.items()
    }
    epochs = [event["epoch"] for event in read(resumed.run.journal) if event.type == "segment.reported"]
    assert epochs == [1, 2, 3, 4]
    assert check(resumed.run).violations == []
    reports = [event.fields for event in read(resumed.run.journal) if event.type == "segment.reported"]
    assert [report.get("found") for report in reports] == [dict(one.found), None, None, None]
    name, value = next(iter(one.found.items()))
    assert all(report["metrics"][name] == pytest.approx(value) for report in reports)
    assert any("A finder set" in sentence for sentence in why(resumed.state, 0))


def test_the_names_of_the_finders_attributes_are_where_lightning_keeps_them() -> None:
    assert compat.learning_rate_attribute(LearningRateFinder(), Tiny()) == "learning_rate"
    assert compat.learning_rate_attribute(LearningRateFinder(update_attr=False), Tiny()) == ""
    assert compat.batch_size_attribute(BatchSizeFinder(batch_arg_name="size")) == "size"
