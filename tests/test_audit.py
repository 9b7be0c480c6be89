"""The audit of early stopping: what it says of sweeps whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.audit import SCHEDULERS, audit, of_table, played, sweeps, synthetic
from benchmarks.search import make_task
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.results import why
from orchestrator.results.audit import audit_of, audited
from orchestrator.results.audit_text import audit_lines
from orchestrator.results.end_forecast import forecast, narrowest
from orchestrator.results.figures.reliability import reliability
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState
from tests.support.event_log import Log
from tests.support.event_log import spec as described_without_module
from tests.support.late_curves import sweep_of, until

GUARDED = SCHEDULERS["guarded_asha"]


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def halves(count: int, correlation: float, gone: int) -> np.ndarray[Any, Any]:
    """Losses at a rung and at the end, of which the first ``gone`` trials have the latter."""
    rng = np.random.default_rng(1)
    first = rng.standard_normal(count)
    end = correlation * first + math.sqrt(1 - correlation**2) * rng.standard_normal(count) - 5
    losses = np.column_stack([first, end])
    losses[gone:, 1] = np.nan
    return losses


def test_a_forecast_follows_how_far_the_rung_predicts() -> None:
    widths = []
    for correlation in (0.99, 0.0):
        losses = halves(100, correlation, 40)
        ends = forecast(losses, 400, random())
        assert ends is not None
        assert np.array_equal(ends[:, :40], np.broadcast_to(losses[:40, 1], (400, 40))), "what is known stays"
        assert (ends[:, 40:] <= losses[40:, 0]).all(), "a best loss never rises"
        followed = np.corrcoef(ends[:, 40:].mean(axis=0), losses[40:, 0])[0, 1]
        assert followed > 0.99 if correlation else abs(ends[:, 40:].mean() - losses[:40, 1].mean()) < 0.3
        widths.append(ends[:, 40:].std(axis=0).mean())
    assert widths[0] < 0.3 < 0.8 < widths[1] < 1.3


def test_nothing_is_said_if_only_the_best_went_on() -> None:
    losses = halves(40, 0.9, 40)
    kept = np.argsort(losses[:, 0])[:10]
    losses[np.setdiff1d(np.arange(40), kept), 1] = np.nan
    assert forecast(losses, 10, random()) is None
    progress = np.where(np.isfinite(losses[:, 1]), 4.0, 1.0)
    result = audited(losses, [1, 4], progress, numbers=list(range(40)), share=0.25, random=random())
    assert (result.lost, result.low, result.finished, result.stopped) == (None, None, 10, 30)
    assert result.saved == 90


def test_the_interval_is_the_narrowest_that_holds_its_share() -> None:
    assert narrowest(np.array([0.0] * 95 + [3.0] * 5), 0.9) == (0, 0)
    assert narrowest(np.array([1.0] * 50 + [2.0] * 42 + [9.0] * 8), 0.9) == (1, 2)


def test_a_rung_that_says_nothing_is_named_and_one_that_says_all_is_not() -> None:
    spec = sweep_of(40, "guarded_asha")
    for early, predicts in ((lambda q: q, True), (lambda q: 1.0 - q, False)):
        state = simulate(spec, curve=until(4, early), slots=1).state
        result = audit_of(state)
        assert (result.unpredictive is None) is predicts
        lines = " ".join(audit_lines("s", result, state))
        assert ("epoch 1 does not predict the end here" in lines) is not predicts
        stopped = next(number for number, trial in state.trials.items() if trial.status == "stopped")
        told = " ".join(why(state, stopped))
        assert "Trained to the end it would have beaten the best trial with probability" in told
        assert ("does not predict the end here" in told) is not predicts


def test_what_cannot_be_audited_says_why() -> None:
    full = simulate(described_without_module("random", "fifo", budget={"trials": 5}, trainer={"max_epochs": 3})).state
    assert "nothing was lost or saved" in " ".join(audit_lines("s", audit_of(full), full))
    with pytest.raises(UsageError, match="no trial with a finite loss was trained to its end"):
        audit_of(type(full)(simulate(sweep_of(4, "guarded_asha")).events[:3]))


def test_a_sweep_whose_end_nobody_knows_yet_has_no_audit() -> None:
    """A function has no ``max_epochs``: before one trial has finished nothing says how long a full one is."""
    spec = from_mapping({
        "name": "s", "train": "fit:main", "objective": {"metric": "loss", "mode": "min"},
        "space": {"lr": {"uniform": [0.0, 1.0]}}, "searcher": "random", "budget": {"trials": 2},
    })  # fmt: skip
    log = Log()
    log.add("sweep.created", spec=spec.model_dump(mode="json"), format=2)
    log.add("sweep.launched", engine="local", slots=1)
    log.add("trial.suggested", trial=0, params={"lr": 0.5}, by="random")
    log.add("segment.started", trial=0, segment=0, node="host", origin=None)
    log.add("segment.reported", trial=0, segment=0, epoch=1, progress=1, step=1, metrics={"loss": 0.5})
    log.add("trial.set_aside", trial=0, segment=0, epoch=1, progress=1, rule="asha", why={"rung": 1, "value": 0.5})
    with pytest.raises(UsageError, match="no trial with a finite loss was trained to its end"):
        audit_of(SweepState(log.events))


def test_a_trial_of_a_table_that_diverged_is_left_out() -> None:
    rng = random()
    losses = rng.random((60, 9)) + np.arange(9, 0, -1)
    losses[7, 3:] = np.nan
    task = of_table(make_task("t", losses, rng.random((60, 2))), 60, rng)
    result, outcomes = audit(task, played(task, GUARDED, 0), GUARDED, 0)
    assert result.trials < 60 or result.finished
    assert len(outcomes) == len(result.probabilities)


@pytest.mark.slow
def test_the_report_draws_forecasts_against_outcomes() -> None:
    state = simulate(sweep_of(60, "guarded_asha"), curve=until(4, lambda q: q)).state
    drawn = reliability(None, state)  # type: ignore[arg-type]  # the run is not read
    assert drawn is not None
    assert "inners probably lost" in drawn.title
    assert simulate(sweep_of(6, "fifo")).state.winner()
    assert reliability(None, simulate(sweep_of(6, "fifo")).state) is None  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_interval_holds_the_truth_and_probabilities_come_true() -> None:
    """`python -m benchmarks.audit` does the same with 1,000 sweeps; docs/search.md has the figures."""
    held: list[bool] = []
    forecasts: list[float] = []
    lost: list[float] = []
    for seed, task in sweeps(None, 60, 150):
        result, outcomes = audit(task, played(task, GUARDED, seed), GUARDED, seed)
        if result.low is not None and result.high is not None:
            held.append(result.low <= outcomes.sum() <= result.high)
            forecasts += result.probabilities.values()
            lost += outcomes.tolist()
    assert len(held) > 120
    assert np.mean(held) > 0.85
    assert abs(np.mean(forecasts) - np.mean(lost)) < 0.03


def test_synthetic_sweeps_differ_in_how_soon_the_end_shows() -> None:
    alike = []
    for seed in range(12):
        losses = np.array(synthetic(80, np.random.default_rng(seed)).losses)
        alike.append(np.corrcoef(losses[:, 2], losses[:, -1])[0, 1])
    assert min(alike) < 0.2
    assert max(alike) > 0.8
