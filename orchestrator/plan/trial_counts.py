"""Trials, rungs and epochs of a sweep on paper: without training, and without importing what would train."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.policies import last_rung
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

SIMULATED_TRIALS = 120
"""More than these are not simulated; their epochs are counted up from the average of so many."""
SIMULATED_EPOCHS = 4_000


@dataclass(frozen=True)
class Plan:
    """A sweep on paper. None is what nobody can know: a sweep that only time ends has no number of trials.

    ``expected`` epochs are those of the same scheduler on synthetic curves, as `sweep simulate` would run it; ``rungs``
    maps the epochs at which trials are compared to how many trials are expected to come there. ``finals`` counts the
    trainings that the finalists may take afterwards, which are in none of these.
    """

    name: str
    trials: int | None
    max_epochs: int | None
    scheduler: str
    most: int | None
    expected: int | None
    rungs: dict[int, int] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    finals: int = 0


def plan(spec: SweepSpec) -> Plan:
    """What can be said without training. Imports none of the spec's classes."""
    trials, epochs = _trials(spec), _max_epochs(spec)
    limits = spec.budget.model_dump(exclude_none=True, exclude_defaults=True, exclude={"trials"})
    most = _searched(spec, trials * epochs if trials and epochs else None)
    finals = spec.finalists.trials if spec.finalists else 0
    head = (spec.name, trials, epochs, spec.scheduler.name)
    if not epochs or not (trials or most):
        return Plan(*head, most, None, {}, limits, finals)
    ran, share = _simulated(spec, trials, epochs)
    expected = _searched(spec, math.ceil(ran.epochs * share))
    reached = {rung: round(sum(t.epoch >= rung for t in ran.trials.values()) * share) for rung in _rungs(spec, epochs)}
    return Plan(*head, most, expected, reached, limits, finals)


def _trials(spec: SweepSpec) -> int | None:
    limit = spec.budget.trials
    if spec.searcher.name != "grid":
        return limit
    return min(limit or spec.space.grid_size, spec.space.grid_size)


def _max_epochs(spec: SweepSpec) -> int | None:
    """Epochs of a trial, the most where they are a parameter; None where steps or time end it."""
    if "trainer.max_epochs" in spec.space:
        return max(int(value) for value in spec.space["trainer.max_epochs"].probes())
    longest = spec.trainer.get("max_epochs")
    return longest if isinstance(longest, int) and longest > 0 else None


def _searched(spec: SweepSpec, epochs: int | None) -> int | None:
    """No more than the budget leaves to the search."""
    if spec.budget.epochs is None:
        return epochs
    limit = math.ceil(spec.budget.epochs * (1 - spec.budget.reserve))
    return limit if epochs is None else min(limit, epochs)


def _rungs(spec: SweepSpec, epochs: int) -> list[int]:
    if spec.scheduler.name != "asha":
        return []
    form = spec.scheduler.grace_epochs, spec.scheduler.reduction_factor
    return [epoch for epoch in range(1, epochs + 1) if last_rung(epoch, *form) == epoch]


def _simulated(spec: SweepSpec, trials: int | None, epochs: int) -> tuple[SweepState, float]:
    """A sweep of random trials on synthetic curves under the spec's scheduler, and for how many each of them stands.

    Clock and money do not count here: how far they reach is not known before something was measured.
    """
    enough = max(1, min(SIMULATED_TRIALS, SIMULATED_EPOCHS // epochs))
    count = min(trials or enough, enough)
    budget: dict[str, float] = {"trials": count}
    if spec.budget.epochs is not None and (trials is None or trials <= count):
        budget |= {"epochs": spec.budget.epochs, "reserve": spec.budget.reserve}
    written = spec.model_dump(mode="json")
    written |= {"searcher": {"name": "random"}, "budget": budget}
    written["trainer"] = {**written["trainer"], "max_epochs": epochs}
    ran = simulate(SweepSpec.model_validate(written)).state
    return ran, (trials or count) / count
