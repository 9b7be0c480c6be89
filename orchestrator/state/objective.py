"""The objective of a sweep: what a trial's best report is, and which constraints a report must satisfy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.state.trial import Best, Trial


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric."""

    metric: str
    max: float | None = None
    min: float | None = None

    def holds(self, metrics: Mapping[str, Any]) -> bool:
        """Return whether these metrics satisfy the bound; a missing metric or NaN does not."""
        value = float(metrics.get(self.metric, math.nan))
        return (self.max is None or value <= self.max) and (self.min is None or value >= self.min)

    def __str__(self) -> str:
        bounds = [f"{sign} {bound:g}" for sign, bound in (("<=", self.max), (">=", self.min)) if bound is not None]
        return f"{self.metric} {' and '.join(bounds)}"


@dataclass(frozen=True)
class Goal:
    """A metric, and which way is better."""

    metric: str
    mode: Literal["min", "max"]

    def loss(self, value: float) -> float:
        """Return the value with its sign changed so that lower is better."""
        return -value if self.mode == "max" else value


@dataclass(frozen=True)
class Objective(Goal):
    """The metric by which trials are judged, the constraints that a report must satisfy, and further objectives."""

    constraints: tuple[Constraint, ...] = ()
    also: tuple[Goal, ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Objective:
        """Return the objective of a spec as the journal holds it."""
        first, also = spec["objective"], spec["objective"].get("also", ())
        constraints = tuple(Constraint(**bound) for bound in spec.get("constraints", ()))
        return cls(first["metric"], first["mode"], constraints, tuple(Goal(**goal) for goal in also))

    @property
    def metrics(self) -> list[str]:
        """All metrics it needs, the objective's own first."""
        further = [*(goal.metric for goal in self.also), *(constraint.metric for constraint in self.constraints)]
        return list(dict.fromkeys([self.metric, *further]))

    @property
    def within(self) -> str:
        """What a sentence on values that count adds: nothing, or that they are within the constraints."""
        return " within the constraints" if self.constraints else ""

    def losses(self, metrics: Mapping[str, Any]) -> tuple[float, ...]:
        """Return a report's losses, lower is better, one for each objective; NaN as in `value`."""
        further = (goal.loss(float(metrics.get(goal.metric, math.nan))) for goal in self.also)
        return self.loss(self.value(metrics)), *further

    def value(self, metrics: Mapping[str, Any]) -> float:
        """Return the objective's value among a report's metrics; NaN if it is missing or a constraint is violated."""
        if self.constraints and not all(constraint.holds(metrics) for constraint in self.constraints):
            return math.nan
        return float(metrics.get(self.metric, math.nan))

    def best(self, trial: Trial, upto: float | None = None) -> Best | None:
        """Return the best finite report that satisfies the constraints, the earliest of equals; None if there is none.

        With ``upto``, later reports are ignored.
        """
        best_at, lowest, metric, constrained = 0.0, math.inf, self.metric, bool(self.constraints)
        for progress, report in trial.reports.items():
            value = self.value(report.metrics) if constrained else report.metrics.get(metric, math.nan)
            loss = self.loss(value)
            better = loss < lowest or (loss == lowest and progress < best_at)
            if better and loss > -math.inf and (upto is None or progress <= upto):
                best_at, lowest = progress, loss
        return Best(best_at, trial.reports[best_at].metrics[metric]) if best_at else None

    def points(self, trials: Iterable[Trial]) -> dict[int, tuple[float, ...]]:
        """Return each trial's losses at its best report, one for each objective.

        Failed trials, and those for which a loss is missing or not finite, are left out.
        """
        points = {}
        for trial in trials:
            best = self.best(trial) if trial.status != "failed" else None
            losses = self.losses(trial.reports[best.progress].metrics) if best else (math.nan,)
            if all(map(math.isfinite, losses)):
                points[trial.number] = losses
        return points
