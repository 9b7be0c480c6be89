"""The median stopping rule."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.safe_text import show
from orchestrator.spec import SchedulerOptions, SweepSpec


class Median(SchedulerOptions):
    """Stops a trial whose best is worse than the median of the other trials' means so far.

    Example:
        ```python
        scheduler = orchestrator.Median(grace_epochs=3, min_trials=5)
        ```
    """

    name: Literal["median"] = "median"
    grace_epochs: int = Field(default=1, ge=1, description="Epochs that every trial gets.", examples=[3])
    min_trials: int = Field(
        default=3, ge=1, description="Other trials that must have come as far before one is stopped.", examples=[3]
    )


class MedianScheduler(Scheduler[Median]):
    """The median stopping rule (Golovin et al. 2017, Google Vizier).

    After ``grace_epochs`` a trial is stopped whose best loss is worse than the median, over the other trials, of their
    mean loss up to the same epoch, once ``min_trials`` others have come so far. No trial is stopped at its last epoch.
    """

    exact = True

    def __init__(self, options: Median, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._max_epochs = spec.trainer.get("max_epochs")
        self._sums: dict[int, tuple[float, int, float]] = {}  # trial -> its last progress, how many reports, their sum
        self._means: dict[float, list[float]] = {}  # progress -> each trial's mean up to there, in order

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say the trial's best value and the median."""
        return (
            f"its best by epoch {why['rung']}, {show(why['value'])}, was worse than {show(why['median'])}, "
            f"the median of the means of the {why['of']} other trials that had come so far"
        )

    def on_report(self, trial: int, progress: float) -> None:
        """Add the loss to the trial's mean; a repeated epoch counts as it was the first time."""
        reached, reports, total = self._sums.get(trial, (0, 0, 0.0))
        value = self.last[trial]
        if progress <= reached or not math.isfinite(value):
            return
        reports, total = reports + 1, total + self.objective.loss(value)
        self._sums[trial] = progress, reports, total
        bisect.insort(self._means.setdefault(progress, []), total / reports)

    def on_extended(self, max_epochs: int) -> None:
        """Move the end of the training."""
        self._max_epochs = max_epochs

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Stop a trial that is worse than the median."""
        reached, reports, total = self._sums[trial]
        means = self._means.get(progress, [])
        too_early = progress < self.options.grace_epochs or len(means) <= self.options.min_trials
        if progress != reached or progress == self._max_epochs or too_early:
            return None
        median = _median_without(means, bisect.bisect_left(means, total / reports))
        if self.best[trial] <= median:
            return None
        numbers = {"rung": progress, "value": self.value(self.best[trial]), "median": self.value(median)}
        return Verdict(self.name, {**numbers, "of": len(means) - 1})


def _median_without(ordered: list[float], index: int) -> float:
    """Return the median of all but the one at ``index``."""

    def at(place: int) -> float:
        return ordered[place + (place >= index)]

    half, odd = divmod(len(ordered) - 1, 2)
    return at(half) if odd else (at(half - 1) + at(half)) / 2
