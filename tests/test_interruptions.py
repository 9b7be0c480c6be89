"""A driver that dies after every report: what is suggested and decided is what it would have been."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from orchestrator.engine.controller import SweepController
from orchestrator.journal import Event
from orchestrator.policies import Scheduler
from orchestrator.policies.schedulers.asha import ASHAScheduler
from orchestrator.policies.searchers.random import RandomSearcher
from orchestrator.state import SweepState
from tests.chaos.interruptions import PAIRS, Case, differences, interrupted, many
from tests.support.markers import sampled

SWEEPS = 2_000
PLANTED = range(len(PAIRS), len(PAIRS) + 150)  # seeds in which each planted bug must show


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sweeps", sampled([40, SWEEPS], slow=[SWEEPS]))
def test_sweeps_interrupted_at_every_report_decide_as_unbroken(sweeps: int) -> None:
    """The first seeds are of each searcher with each scheduler, too slow for the sample."""
    met, found = many(0 if sweeps == SWEEPS else len(PAIRS), sweeps, processes=2)
    assert not found, "\n".join(f"seed {seed}: {what}" for seed, what in found[:10])
    assert sum(met.values()) == sweeps
    assert sweeps < SWEEPS or all(met[f"{searcher} with {scheduler}"] for searcher, scheduler in PAIRS)


def test_every_report_is_followed_by_a_death() -> None:
    case = Case("random", "asha 2", 4, 3, 1)
    events = interrupted(case).events
    for event, after in pairwise(events):
        if event.type == "segment.reported":
            assert after.lease == event.lease + 1
    assert interrupted(case).journal == interrupted(case).journal


def verdict_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that a dead process owed is not paid."""
    monkeypatch.setattr(SweepController, "_replay_pending_decision", lambda self: None)


def suggestions_follow_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A searcher counts its own suggestions rather than the trials."""
    real = RandomSearcher.suggest

    def suggest(self: RandomSearcher, number: int) -> object:
        self.asked = getattr(self, "asked", -1) + 1  # type: ignore[attr-defined]
        return real(self, self.asked)  # type: ignore[attr-defined]

    monkeypatch.setattr(RandomSearcher, "suggest", suggest)


def rungs_begin_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler knows what it has seen itself, and the report that it owes a verdict on."""
    real = Scheduler.observe

    def observe(self: Scheduler, event: Event) -> None:
        if event.type == "sweep.launched" and isinstance(self, ASHAScheduler):
            self._rungs.clear()
        real(self, event)

    monkeypatch.setattr(Scheduler, "observe", observe)


def set_aside_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume forgets what was set aside, and runs it at once."""
    real = SweepState._interrupt

    def interrupt(self: SweepState) -> None:
        real(self)
        for number in list(self.set_aside):
            self._set(self.trials[number], "interrupted")

    monkeypatch.setattr(SweepState, "_interrupt", interrupt)


@pytest.mark.parametrize(
    "plant", [verdict_forgotten, suggestions_follow_the_process, rungs_begin_empty, set_aside_is_forgotten]
)
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    seed = next((seed for seed in PLANTED if outcome(seed)), -1)
    assert seed >= 0, "not found"
    monkeypatch.undo()
    assert outcome(seed) == []


def outcome(seed: int) -> list[str]:
    case = Case.of(seed)
    if case.searcher != "random":  # none of these bugs is about it
        return []
    try:
        return list(differences(case))
    except Exception as error:
        return [repr(error)]
