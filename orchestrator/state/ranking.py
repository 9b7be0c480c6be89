"""Compare trials: the statistics of a repeated configuration, and the Pareto front of several objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, variance

from orchestrator.state.objective import Objective


@dataclass(frozen=True)
class Configuration:
    """The trials of one configuration, each under its own seed.

    Attributes:
        first: The number of its first trial.
        trials: The numbers of all its trials.
        values: The best finite values of the trials that have one and did not fail; a trial that was stopped early
            counts with the value it had reached.
        ended: Whether all trials that were planned have ended.
    """

    first: int
    trials: Sequence[int]
    values: Sequence[float]
    ended: bool

    @property
    def complete(self) -> bool:
        """Whether all its trials have ended with a value."""
        return self.ended and len(self.values) == len(self.trials)

    @property
    def mean(self) -> float | None:
        """The mean of the values; None if there are none."""
        return mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The standard deviation of the values (n - 1); None for fewer than two values, or if it is not finite."""
        deviation = math.sqrt(self._variance)
        return deviation if len(self.values) > 1 and deviation < math.inf else None

    def loss(self, objective: Objective, rank_by: str) -> float:
        """Return the loss by which it is ranked, lower is better: the mean, for ``lower_bound`` a standard error worse.

        The lower bound is rounded to twelve digits, so that values equal up to rounding errors tie: for two seeds it
        is the worse one's value.
        """
        if self.mean is None:
            return math.inf
        if rank_by == "mean":
            return objective.loss(self.mean)
        return float(f"{objective.loss(self.mean) + math.sqrt(self._variance / len(self.values)):.12g}")

    @property
    def _variance(self) -> float:
        try:
            return variance(self.values) if len(self.values) > 1 else 0.0
        except OverflowError:
            return math.inf


def dominates(losses: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether none of ``losses`` is above its counterpart in ``other``, and at least one is below."""
    return tuple(losses) != tuple(other) and all(a <= b for a, b in zip(losses, other, strict=True))


def pareto_front(points: Mapping[int, tuple[float, ...]]) -> list[int]:
    """Return the trials that no other trial dominates, ordered by their losses; equal ones are all included."""
    front: list[tuple[tuple[float, ...], int]] = []
    for losses, number in sorted((losses, number) for number, losses in points.items()):
        if not any(dominates(other, losses) for other, _ in front):  # a dominating trial comes earlier in this order
            front.append((losses, number))
    return [number for _, number in front]
