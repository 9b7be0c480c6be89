"""The ranking against an oracle: a hundred thousand random histories, and planted bugs that must show."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.journal import Event
from orchestrator.state import Best, Objective, SweepState, Trial
from tests.chaos.rankings import METRIC, disagreements, history, many, tally

HISTORIES = 100_000
PLANTED = range(300)  # seeds in which each planted bug must show


def test_the_ranking_is_the_oracles() -> None:
    met, found = many(0, HISTORIES, processes=2)
    assert not found, "\n".join(f"seed {seed}: {what}" for seed, what in found[:10])
    came = {"epoch done again", "failed", "finished", "lost", "max", "metric missing", "min", "not finite"}
    came |= {"promoted", "retried", "runs", "set_aside", "stopped", "sweep interrupted"}
    assert not {trouble for trouble in came if not met[trouble]}, "what never came tests nothing"


def test_a_seed_replays_its_history() -> None:
    assert all(repr(history(seed)) == repr(history(seed)) for seed in range(50))
    assert repr(history(0)) != repr(history(1))


def infinity_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(self: Objective, trial: Trial, upto: int | None = None) -> Best | None:
        told = {epoch: report.metrics.get(METRIC, math.nan) for epoch, report in trial.reports.items()}
        known = [(self.loss(v), e) for e, v in told.items() if not math.isnan(v) and (upto is None or e <= upto)]
        return Best(min(known)[1], told[min(known)[1]]) if known else None

    monkeypatch.setattr(Objective, "best", best)


def the_last_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(self: Objective, trial: Trial, upto: int | None = None) -> Best | None:
        value = trial.value(trial.epoch, self.metric)
        return Best(trial.epoch, value) if math.isfinite(value) else None

    monkeypatch.setattr(Objective, "best", best)


def the_latest_of_equals_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Objective.best

    def best(self: Objective, trial: Trial, upto: int | None = None) -> Best | None:
        found = real(self, trial, upto)
        known = range(1, trial.epoch + 1 if upto is None else min(trial.epoch, upto) + 1)
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
        mirrored = {-number: trial for number, trial in self.trials.items()}
        for number, trial in mirrored.items():
            trial.number = number
        self.trials, kept = mirrored, self.trials
        found = real(self)
        self.trials = kept
        for number, trial in kept.items():
            trial.number = number
        return found

    monkeypatch.setattr(SweepState, "ranking", ranking)


@pytest.mark.parametrize(
    "plant",
    [
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
