"""Constraints: an epoch that breaks one does not count, in the ranking, for the searcher, and among the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.recorded_curves import of_sweep
from orchestrator.engine.search_comparison import compare
from orchestrator.errors import SpecError
from orchestrator.policies.trial_history import History
from orchestrator.results.verify import replay
from orchestrator.results.why import why
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import Objective
from orchestrator.testing import Simulated, simulate
from tests.chaos.simulate import SCHEDULERS, spec


def bounded(scheduler: str = "fifo", **fields: Any) -> SweepSpec:
    """`size` falls with the epoch, to 1 below ten times the width."""
    given = {"constraints": [{"metric": "size", "max": 100}], "checkpoints": {"keep_top": 1}, **fields}
    return from_mapping(spec("random", scheduler, 8, 5).model_dump(mode="json") | given)


def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """The larger the better, and the first epoch the best."""
    return {"val_acc": params["model.width"] - 0.1 * epoch, "size": 10.0 * params["model.width"] / epoch}


def ran(described: SweepSpec) -> Simulated:
    found = simulate(described, curve=curve, slots=2)
    assert not found.violations + replay(described, found.events)
    return found


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_winner_keeps_to_them_and_has_the_checkpoint_of_an_epoch_that_does(scheduler: str) -> None:
    state = ran(bounded(scheduler)).state
    told = {
        (trial.number, epoch): report.metrics
        for trial in state.trials.values()
        for epoch, report in trial.reports.items()
    }
    value = max(metrics["val_acc"] for metrics in told.values() if metrics["size"] <= 100)
    free = max(metrics["val_acc"] for metrics in told.values())
    winner = state.winner()
    assert winner
    best = state.objective.best(winner)
    assert best
    assert best.value == value < free, "without the constraint another would win"
    assert told[winner.number, best.progress]["size"] <= 100
    assert best.progress in winner.checkpoints


def test_where_nobody_keeps_to_them_nobody_wins() -> None:
    state = ran(bounded(constraints=[{"metric": "size", "max": 1, "min": 0.5}])).state
    assert state.winner() is None
    assert [trial.number for trial in state.ranking()] == list(range(8))
    assert why(state, 0)[-1].startswith("No report satisfied the constraint size <= 1 and >= 0.5 (")
    none_told = ran(bounded(constraints=[{"metric": "other", "max": 1}])).state
    assert "(no value in the last report)" in why(none_told, 0)[-1]


def test_a_searcher_hears_of_a_trial_that_breaks_them_as_of_the_worst() -> None:
    described = bounded()
    history = History(described.space, Objective.from_spec(described.model_dump()))
    found = ran(described)
    for event in found.events:
        history.observe(event)
    for number, trial in found.state.trials.items():
        counts = found.state.objective.best(trial)
        assert history.trials[number].state == ("finished" if counts else "unfit")
        assert not counts or history.trials[number].loss == -counts.value
    assert {trial.state for trial in history.trials.values()} == {"finished", "unfit"}


def test_seeds_and_simulation_keep_to_them() -> None:
    described = bounded(repeats=2, searcher={"name": "tpe", "startup_trials": 2})
    state = ran(described).state
    first = state.configurations()[0]
    assert state.winner() is not None
    assert all(first.values)
    assert first.complete
    recorded = of_sweep("s", state)
    winner = state.winner()
    best = winner and state.objective.best(winner)
    assert best
    assert recorded.best == -best.value
    assert compare(recorded, [], 2, 1, print)[-1].best is not None


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"metric": "size"}, {"metric": "", "max": 1}, {"metric": "size", "max": "1"}, {"metric": "size", "most": 1},
        {"metric": "size", "max": 1, "min": 2}, {"metric": "size", "max": float("inf")}, {"max": 1}, "size",
    ):  # fmt: skip
        with pytest.raises(SpecError):
            bounded(constraints=[wrong])
    with pytest.raises(SpecError, match="sealed"):
        bounded(constraints=[{"metric": "test_loss", "max": 1}])


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_metric_that_is_not_logged_is_named_before_the_start_and_at_the_first_report(tmp_path: Path) -> None:
    from orchestrator.engine.segment_runner import attempt
    from orchestrator.training import Job
    from orchestrator.training.class_loading import never_logged
    from tests.support.small_sweeps import spec as tiny

    wrong = from_mapping(tiny().model_dump(mode="json") | {"constraints": [{"metric": "val_los", "max": 1}]})
    problem = next(problem for problem in never_logged(wrong) if problem.path == ("constraints", 0, "metric"))
    assert "never logs 'val_los'" in problem.message
    job = Job(
        trial=0,
        segment=0,
        seed=1,
        metric="val_loss",
        required=["val_los"],
        model={"class_path": "tests.support.tiny.Tiny", "init_args": {}},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        folder=str(tmp_path / "run/trials/0000"),
    )
    failed = attempt(job, lambda report: True)
    assert failed
    assert failed.kind == "objective"
    assert "val_los" in failed.message
