"""The ranking against an oracle: a hundred thousand random histories, and planted bugs that must show."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.journal import Event
from orchestrator.state import Best, Configuration, Constraint, Objective, SweepState, Trial
from tests.chaos.rankings import METRIC, disagreements, history, many, tally
from tests.support.markers import sampled

HISTORIES = 100_000
PLANTED = range(300)  # seeds in which each planted bug must show


@pytest.mark.parametrize("histories", sampled([2_000, HISTORIES], slow=[HISTORIES]))
def test_the_ranking_is_the_oracles(histories: int) -> None:
    met, found = many(0, histories, processes=2)
    assert not found, "\n".join(f"seed {seed}: {what}" for seed, what in found[:10])
    came = {"epoch done again", "failed", "finished", "lost", "max", "metric missing", "min", "not finite"}
    came |= {
        "1 seeds",
        "constrained",
        "2 seeds",
        "3 seeds",
        "promoted",
        "retried",
        "runs",
        "set_aside",
        "stopped",
        "sweep interrupted",
    }
    assert not {trouble for trouble in came if not met[trouble]}, "what never came tests nothing"


def test_a_seed_replays_its_history() -> None:
    assert all(repr(history(seed)) == repr(history(seed)) for seed in range(50))
    assert repr(history(0)) != repr(history(1))


def infinity_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(self: Objective, trial: Trial, upto: float | None = None) -> Best | None:
        told = {epoch: report.metrics.get(METRIC, math.nan) for epoch, report in trial.reports.items()}
        known = [(self.loss(v), e) for e, v in told.items() if not math.isnan(v) and (upto is None or e <= upto)]
        return Best(min(known)[1], told[min(known)[1]]) if known else None

    monkeypatch.setattr(Objective, "best", best)


def the_last_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(self: Objective, trial: Trial, upto: float | None = None) -> Best | None:
        value = trial.value(trial.epoch, self.metric)
        return Best(trial.epoch, value) if math.isfinite(value) else None

    monkeypatch.setattr(Objective, "best", best)


def the_latest_of_equals_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Objective.best

    def best(self: Objective, trial: Trial, upto: float | None = None) -> Best | None:
        found = real(self, trial, upto)
        known = [at for at in trial.reports if upto is None or at <= upto]
        return found and Best(max(e for e in known if trial.value(e, self.metric) == found.value), found.value)

    monkeypatch.setattr(Objective, "best", best)


def the_mode_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "loss", lambda self, value: value)


def the_first_report_of_an_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SweepState.apply

    def apply(self: SweepState, event: Event) -> None:
        again = event.type == "segment.reported" and event["epoch"] in self.trials[event["trial"]].reports
        if not again:
            real(self, event)

    monkeypatch.setattr(SweepState, "apply", apply)


def a_failed_trial_may_win(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SweepState._on_trial_failed
    monkeypatch.setattr(
        SweepState,
        "_on_trial_failed",
        lambda self, event: real(self, event) or self._set(self.trials[event["trial"]], "stopped"),
    )


def a_retried_trial_stays_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SweepState, "_on_trial_retried", lambda self, event: None)
    monkeypatch.setattr(SweepState, "_on_segment_started", lambda self, event: None)


def ties_go_to_the_higher_number(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SweepState.ranking

    def ranking(self: SweepState) -> list[Trial]:
        found = real(self)
        for place, (one, other) in enumerate(pairwise(found)):
            equal = repr(self.objective.best(one)) == repr(self.objective.best(other))
            if one.configuration == other.configuration or (self.repeats["seeds"] == 1 and equal):
                found[place : place + 2] = sorted((one, other), key=lambda trial: -trial.number)
        return found

    monkeypatch.setattr(SweepState, "ranking", ranking)


def constraints_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Constraint, "holds", lambda self, metrics: True)


def a_bound_that_is_not_told_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Constraint.holds
    monkeypatch.setattr(Constraint, "holds", lambda self, told: self.metric not in told or real(self, told))


def repeats_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SweepState, "configurations", lambda self: [])


def a_configuration_may_win_with_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configuration, "complete", True)


def the_bound_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Configuration.loss
    monkeypatch.setattr(Configuration, "loss", lambda self, objective, rank_by: real(self, objective, "mean"))


@pytest.mark.parametrize(
    "plant",
    [
        constraints_are_forgotten,
        a_bound_that_is_not_told_is_kept,
        repeats_are_forgotten,
        a_configuration_may_win_with_one_seed,
        the_bound_is_forgotten,
        infinity_wins,
        the_last_epoch_counts,
        the_latest_of_equals_counts,
        the_mode_is_forgotten,
        the_first_report_of_an_epoch_counts,
        a_failed_trial_may_win,
        a_retried_trial_stays_failed,
        ties_go_to_the_higher_number,
    ],
)
def test_a_planted_bug_is_found_and_its_seed_replays_it(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    seed, found = next(((seed, found) for seed in PLANTED if (found := outcome(seed))), (-1, []))
    assert found, "not found"
    assert outcome(seed) == found
    monkeypatch.undo()
    assert tally(range(seed, seed + 1))[1] == []


def outcome(seed: int) -> list[Any]:
    return list(disagreements(seed, history(seed)))
