"""Count trials, rungs and epochs of a sweep without training or importing its classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from orchestrator.engine.learning_curves import typical
from orchestrator.engine.simulator import simulate
from orchestrator.engine.virtual_cluster import simulated_span
from orchestrator.policies.distinct import distinct_trials
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.policies.searcher import foreign_searcher, trial_limit
from orchestrator.progress import EPOCHS, UNITS
from orchestrator.spec import SweepSpec
from orchestrator.spec.progress_section import with_end
from orchestrator.state import SweepState

_LATE = 1.0  # spans of progress after which a typical curve has half come to its level
_SWEEPS = 3  # simulated at most: one alone may take half or twice what another of its kind takes
_SLOW_SEARCHERS = frozenset({"gp", "race"})  # too slow to simulate, or repeating trials until one has won
SIMULATED_TRIALS = 120
"""The most trials that are simulated; the epochs of more are extrapolated from their average."""
SIMULATED_REPORTS = 4_000
"""The most reports that are simulated, over all simulated sweeps."""


@dataclass(frozen=True)
class Plan:
    """The counts of a sweep; a count that cannot be known is None, as the trials of a sweep that only time ends.

    ``longest`` is where the longest trial ends, ``most`` and ``expected`` are sums over the trials, the latter of the
    same searcher and scheduler on typical curves; all in ``unit``, that of progress. ``rungs`` maps
    the places of comparisons to the number of trials expected to reach them. ``finals`` counts the
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
    longest: float | None
    scheduler: str
    most: float | None
    expected: float | None
    rungs: dict[float, int] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    finals: int = 0
    configurations: int | None = None
    unit: str = EPOCHS

    @property
    def max_epochs(self) -> int | None:
        """The epochs of the longest trial; None if progress is not in epochs, or they are not known."""
        return int(self.longest) if self.unit == EPOCHS and self.longest else None


def plan(spec: SweepSpec) -> Plan:
    """Return the counts that need no training; none of the spec's classes is imported."""
    limits_of_trials = [limit for limit in (trial_limit(spec), distinct_trials(spec)) if limit is not None]
    trials, epochs = min(limits_of_trials, default=None), spec.longest
    limits = spec.budget.model_dump(exclude_none=True, exclude_defaults=True, exclude={"trials"})
    most = _searched(spec, trials * epochs if trials and epochs else None)
    finals = spec.finalists.trials if spec.finalists else 0
    configurations = spec.space.size
    head, unit = (spec.name, trials, epochs, spec.scheduler.name), spec.progress.unit
    if not epochs or not (trials or most):
        return Plan(*head, most, None, {}, limits, finals, configurations, unit)
    sweeps, share = _simulated(spec, trials, epochs)
    expected = _searched(spec, math.ceil(mean(_trained(state, unit) for state in sweeps) * share))
    rungs = scheduler_class(spec.scheduler.name).rungs(spec.scheduler, epochs)
    reached = {rung: round(mean(_reached(state, rung) for state in sweeps) * share) for rung in rungs}
    return Plan(*head, most, expected, reached, limits, finals, configurations, unit)


def _trained(state: SweepState, unit: str) -> float:
    """Return what was trained in a unit: of a counter, the sum of where the trials are."""
    return state.trained[unit] if unit in UNITS else sum(trial.progress for trial in state.trials.values())


def _reached(state: SweepState, rung: float) -> int:
    return sum(trial.progress >= rung for trial in state.trials.values())


def _searched(spec: SweepSpec, amount: float | None) -> float | None:
    """Cap an amount of progress by the part of the budget that the search may spend."""
    budget: float | None = getattr(spec.budget, spec.progress.unit, None)
    if budget is None:
        return amount
    limit = math.ceil(budget * (1 - spec.budget.reserve))
    return limit if amount is None else min(limit, amount)


def _simulated(spec: SweepSpec, trials: int | None, longest: float) -> tuple[list[SweepState], float]:
    """Simulate the spec's searcher and scheduler on typical curves, under a few seeds.

    A searcher that takes long, or whose class the sweep file names from elsewhere, is replaced with a random one.

    Returns the states, and how many trials of the sweep each simulated one stands for. Budgets of time and cost are
    ignored, since their reach is unknown before measuring.
    """
    unit = spec.progress.unit
    limit = max(1, min(SIMULATED_TRIALS, int(SIMULATED_REPORTS // (longest / simulated_span(spec, longest)))))
    count = min(trials or limit, limit)
    budget: dict[str, float] = {"trials": count}
    amount = getattr(spec.budget, unit, None)
    if amount is not None and (trials is None or trials <= count):
        budget |= {unit: amount, "reserve": spec.budget.reserve}
    spec_json = spec.model_dump(mode="json")
    spec_json |= {"budget": budget}
    if foreign_searcher(spec) or spec.searcher.name in _SLOW_SEARCHERS:
        spec_json |= {"searcher": {"name": "random"}}
    simulated = SweepSpec.model_validate(with_end(spec_json, unit, longest))
    curve = typical(spec.objective.metric, spec.objective.mode, _LATE)
    sweeps = [simulate(simulated, curve=curve).state]
    reports = sum(len(trial.reports) for trial in sweeps[0].trials.values())
    more = 0 if spec.scheduler.name == "fifo" else min(_SWEEPS, SIMULATED_REPORTS // max(1, reports)) - 1
    for number in range(1, more + 1):
        again = simulated.model_copy(update={"seed": spec.seed + number})
        sweeps.append(simulate(again, curve=curve).state)
    return sweeps, (trials or count) / count
