"""Count trials, rungs and epochs of a sweep without training or importing its classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.policies.distinct import distinct_trials
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.policies.searcher import trial_limit
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

SIMULATED_TRIALS = 120
"""The most trials that are simulated; the epochs of more are extrapolated from their average."""
SIMULATED_EPOCHS = 4_000


@dataclass(frozen=True)
class Plan:
    """The counts of a sweep; a count that cannot be known is None, as the trials of a sweep that only time ends.

    ``most`` and ``expected`` are epochs, the latter of the same scheduler on synthetic curves, as `sweep simulate` runs
    it. ``rungs`` maps the epochs of comparisons to the number of trials expected to reach them. ``finals`` counts the
    trainings that the finalists may take afterwards; the other counts do not include them. ``configurations`` counts
    the distinct ones in the space, None if it is not finite.

    Example:
        ```python
        plan = Sweep.from_file("sweep.yaml").plan()
        print(plan.trials, plan.expected)
        ```
    """

    name: str
    trials: int | None
    max_epochs: int | None
    scheduler: str
    most: int | None
    expected: int | None
    rungs: dict[float, int] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    finals: int = 0
    configurations: int | None = None


def plan(spec: SweepSpec) -> Plan:
    """Return the counts that need no training; none of the spec's classes is imported."""
    limits_of_trials = [limit for limit in (trial_limit(spec), distinct_trials(spec)) if limit is not None]
    trials, epochs = min(limits_of_trials, default=None), _max_epochs(spec)
    limits = spec.budget.model_dump(exclude_none=True, exclude_defaults=True, exclude={"trials"})
    most = _searched(spec, trials * epochs if trials and epochs else None)
    finals = spec.finalists.trials if spec.finalists else 0
    configurations = spec.space.size
    head = (spec.name, trials, epochs, spec.scheduler.name)
    if not epochs or not (trials or most):
        return Plan(*head, most, None, {}, limits, finals, configurations)
    simulated, share = _simulated(spec, trials, epochs)
    expected = _searched(spec, math.ceil(simulated.epochs * share))
    rungs = scheduler_class(spec.scheduler.name).rungs(spec.scheduler, epochs)
    reached = {rung: round(sum(t.progress >= rung for t in simulated.trials.values()) * share) for rung in rungs}
    return Plan(*head, most, expected, reached, limits, finals, configurations)


def _max_epochs(spec: SweepSpec) -> int | None:
    """Return the epochs of a trial, the most if they are a parameter; None if steps or time end it."""
    if "trainer.max_epochs" in spec.space:
        return max(int(value) for value in spec.space["trainer.max_epochs"].probes())
    longest = spec.trainer.get("max_epochs")
    return longest if isinstance(longest, int) and longest > 0 else None


def _searched(spec: SweepSpec, epochs: int | None) -> int | None:
    """Cap epochs by the part of the budget that the search may spend."""
    if spec.budget.epochs is None:
        return epochs
    limit = math.ceil(spec.budget.epochs * (1 - spec.budget.reserve))
    return limit if epochs is None else min(limit, epochs)


def _simulated(spec: SweepSpec, trials: int | None, epochs: int) -> tuple[SweepState, float]:
    """Simulate random trials on synthetic curves under the spec's scheduler.

    Returns the state, and how many trials of the sweep each simulated one stands for. Budgets of time and cost are
    ignored, since their reach is unknown before measuring.
    """
    limit = max(1, min(SIMULATED_TRIALS, SIMULATED_EPOCHS // epochs))
    count = min(trials or limit, limit)
    budget: dict[str, float] = {"trials": count}
    if spec.budget.epochs is not None and (trials is None or trials <= count):
        budget |= {"epochs": spec.budget.epochs, "reserve": spec.budget.reserve}
    spec_json = spec.model_dump(mode="json")
    spec_json |= {"searcher": {"name": "random"}, "budget": budget}
    spec_json["trainer"] = {**spec_json["trainer"], "max_epochs": epochs}
    state = simulate(SweepSpec.model_validate(spec_json)).state
    return state, (trials or count) / count
