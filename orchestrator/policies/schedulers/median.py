"""The median stopping rule."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.policies.rungs import GRACE, grace_of
from orchestrator.policies.scheduler import Scheduler, Verdict, place_text
from orchestrator.progress import EPOCHS
from orchestrator.safe_text import show_apart
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span


class Median(SchedulerOptions):
    """Stops a trial whose best is worse than the median of the other trials' means so far.

    Example:
        ```python
        scheduler = orchestrator.Median(grace=3, min_trials=5)
        ```
    """

    name: Literal["median"] = "median"
    renamed: ClassVar[dict[str, str]] = {"grace_epochs": "grace"}
    grace: Span = Field(default=None, description=f"Progress that every trial gets. {GRACE}", examples=[3])
    min_trials: int = Field(
        default=3, ge=1, description="Other trials that must have come as far before one is stopped.", examples=[3]
    )


class MedianScheduler(Scheduler[Median]):
    """The median stopping rule (Golovin et al. 2017, Google Vizier).

    After ``grace`` a trial is stopped whose best loss is worse than the median, over the other trials, of their mean
    loss up to the same progress, once ``min_trials`` others have come so far. No trial is stopped at its end. Trials
    need not report at the same places: a mean is that of the reports up to there.
    """

    exact = True

    def __init__(self, options: Median, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._sums: dict[int, tuple[float, int, float]] = {}  # trial -> its last progress, how many reports, their sum
        self._means: dict[float, list[float]] = {}  # progress -> the means of the trials that reported there, in order
        self._trails: dict[int, tuple[list[float], list[float]]] = {}  # trial -> places, and the mean up to each
        self._regular = spec.progress.unit == EPOCHS  # whether all report at whole epochs

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say the trial's best value and the median."""
        value, median = show_apart(why["value"], why["median"])
        others = f"the {why['of']} other trials" if why["of"] != 1 else "the one other trial"
        return (
            f"its best by {place_text(why)}, {value}, was worse than {median}, "
            f"the median of the means of {others} that had come so far"
        )

    def on_report(self, trial: int, progress: float) -> None:
        """Add the loss to the trial's mean; a repeated report counts as it was the first time."""
        reached, reports, total = self._sums.get(trial, (0, 0, 0.0))
        value = self.last[trial]
        if progress <= reached or not math.isfinite(value):
            return
        reports, total = reports + 1, total + self.objective.loss(value)
        self._sums[trial] = progress, reports, total
        self._regular = self._regular and isinstance(progress, int)
        bisect.insort(self._means.setdefault(progress, []), total / reports)
        places, means = self._trails.setdefault(trial, ([], []))
        places.append(progress)
        means.append(total / reports)

    def _means_at(self, progress: float) -> list[float]:
        """Return the mean of each trial that has come so far, in order."""
        if self._regular or not self._interpolates:
            return self._means.get(progress, [])
        reached = (trail for trail in self._trails.values() if trail[0][-1] >= progress)
        return sorted(means[max(0, bisect.bisect_right(places, progress) - 1)] for places, means in reached)

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Stop a trial that is worse than the median."""
        reached, reports, total = self._sums[trial]
        means = self._means_at(progress)
        too_early = progress < grace_of(self.options) or len(means) <= self.options.min_trials
        if progress != reached or self.is_at_end(progress) or too_early:
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
