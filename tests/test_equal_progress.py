"""Trials that were stopped early compare with those that were not: at equal progress, and marked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.simulator import simulate
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.next_changes import next_changes
from orchestrator.rundir import RunDirectory
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState

WEIGHTS = {"a": 8.0, "b": 3.0, "c": 1.0, "d": 0.3}


def known(params: Mapping[str, Any], progress: float) -> dict[str, float]:
    """A loss whose end is a weighted sum, and whose beginning is the same for all."""
    end = sum(weight * (params[f"model.{name}"] - 0.3) ** 2 for name, weight in WEIGHTS.items())
    return {"loss": end + 2.0 * math.exp(-progress / 3)}


def searched(scheduler: str, trials: int = 64, seed: int = 0) -> SweepState:
    spec = {
        "name": "known", "seed": seed, "objective": {"metric": "loss", "mode": "min"}, "model": "no.Model",
        "space": {f"model.{name}": {"uniform": [0.0, 1.0]} for name in WEIGHTS}, "searcher": "random",
        "scheduler": scheduler, "trainer": {"max_epochs": 16}, "budget": {"trials": trials},
    }  # fmt: skip
    return simulate(from_mapping(spec), curve=known, slots=4).state


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["fifo", "guarded_asha"])
def test_importance_has_the_order_that_is_known(scheduler: str) -> None:
    shares = importance_of(searched(scheduler))
    assert shares
    assert list(shares.shares)[:3] == ["model.a", "model.b", "model.c"]


def test_what_ended_early_is_estimated_at_the_end_and_marked() -> None:
    state = searched("guarded_asha", 40)
    equal, full = equal_losses(state), equal_losses(searched("fifo", 40))
    assert equal.progress == full.progress == 16
    assert not full.early
    assert equal.early == {number for number, trial in state.trials.items() if trial.progress < 16}
    for number, loss in equal.losses.items():
        assert loss == pytest.approx(full.losses[number], abs=1e-6), "all curves fall alike here"
    assert f"{len(equal.early)} of 40 trials ended before" in equal.note("epochs")


def test_a_sweep_without_reports_has_no_values() -> None:
    state = SweepState(simulate(from_mapping({
        "name": "none", "objective": {"metric": "loss", "mode": "min"}, "model": "no.Model", "budget": {"trials": 2},
    })).events[:3])  # fmt: skip
    assert equal_losses(state).losses == {}


def test_the_next_change_has_its_command() -> None:
    run = RunDirectory(Path("/nowhere/known"))
    state = searched("fifo", 40)
    at_the_edge = {"model.a": {"uniform": [0.3, 1.0]}, "model.e": {"uniform": [0.0, 1.0]}}
    spec = {**state.spec, "space": {**state.spec["space"], **at_the_edge}}
    state.set_spec(spec)
    for trial in state.trials.values():
        trial.params = {**trial.params, "model.a": 0.3 + 0.7 * trial.params["model.a"]}
        for report in trial.reports.values():
            report.metrics["loss"] = trial.params["model.a"]
    changes = {change.finding: change.command for change in next_changes(run, state)}
    edge = next(finding for finding in changes if "lower edge of model.a" in finding)
    assert changes[edge] == "sweep launch FILE --set 'space.model.a={uniform: [-0.4, 1]}'"
    assert next_changes(run, searched("fifo", 8)) == [], "too little to tell"


def test_trials_whose_only_report_is_beyond_the_last_place_are_compared_there() -> None:
    """Reports of a counter come where batches end: 45,056 tokens, where a tenth of the limit is 45,000."""
    ran = simulate(
        from_mapping(
            {**searched("fifo", 8).spec, "trainer": {"max_epochs": 6}, "searcher": "random", "scheduler": "fifo"}
        ),
        curve=known,
    )
    events = [e for e in ran.events if e.type not in ("segment.reported", "segment.checkpointed") or e.progress == 6]
    longer = {**ran.state.spec, "trainer": {"max_epochs": 11}}
    state = SweepState(
        [replace(e, fields={**e.fields, "spec": longer}) if e.type == "sweep.created" else e for e in events]
    )
    equal = equal_losses(state)
    assert equal.progress == 6
    assert len(equal.losses) == 8
    assert not equal.early
