"""Schedulers that compare single epochs: the median rule and patience."""

from __future__ import annotations

import bisect
import math

from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.state import Objective


class Median(Scheduler):
    """The median stopping rule (Golovin et al. 2017, Google Vizier).

    After ``grace_epochs`` a trial is stopped whose best loss is worse than the median, over the other trials, of their
    mean loss up to the same epoch, once ``min_trials`` others have come so far. Its last epoch stops nobody.
    """

    name = "median"

    def __init__(self, objective: Objective, grace_epochs: int, min_trials: int, max_epochs: int | None) -> None:
        super().__init__(objective)
        self._grace, self._min_trials, self._max_epochs = grace_epochs, min_trials, max_epochs
        self._told: dict[int, tuple[int, int, float]] = {}  # trial -> its last epoch, how many reports, their sum
        self._means: dict[int, list[float]] = {}  # epoch -> each trial's mean up to there, in order

    def _reported(self, trial: int, epoch: int) -> None:
        reached, reports, total = self._told.get(trial, (0, 0, 0.0))
        value = self._last[trial]
        if epoch <= reached or not math.isfinite(value):
            return  # an epoch that is done again counts as it was the first time
        reports, total = reports + 1, total + self._objective.loss(value)
        self._told[trial] = epoch, reports, total
        bisect.insort(self._means.setdefault(epoch, []), total / reports)

    def _extended(self, max_epochs: int) -> None:
        self._max_epochs = max_epochs

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        reached, reports, total = self._told[trial]
        means = self._means.get(epoch, [])
        if epoch != reached or epoch < self._grace or epoch == self._max_epochs or len(means) <= self._min_trials:
            return None
        median = _median_without(means, bisect.bisect_left(means, total / reports))
        if self._best[trial] <= median:
            return None
        sign = -1 if self._objective.mode == "max" else 1
        numbers = {"rung": epoch, "value": sign * self._best[trial], "median": sign * median, "of": len(means) - 1}
        return Verdict(self.name, numbers)


def _median_without(ordered: list[float], index: int) -> float:
    """The median of all but the one at ``index``."""

    def at(place: int) -> float:
        return ordered[place + (place >= index)]

    half, odd = divmod(len(ordered) - 1, 2)
    return at(half) if odd else (at(half - 1) + at(half)) / 2


class Patience(Scheduler):
    """Stops a trial that has not become better, by more than ``min_delta``, for so many epochs. Compares no trials."""

    name = "patience"

    def __init__(self, objective: Objective, epochs: int, min_delta: float, max_epochs: int | None) -> None:
        super().__init__(objective)
        self._epochs, self._min_delta, self._max_epochs = epochs, min_delta, max_epochs
        self._improved: dict[int, tuple[float, int]] = {}

    def _reported(self, trial: int, epoch: int) -> None:
        loss = self._objective.loss(self._last[trial])
        if math.isfinite(loss) and loss < self._improved.get(trial, (math.inf, 0))[0] - self._min_delta:
            self._improved[trial] = loss, epoch

    def _extended(self, max_epochs: int) -> None:
        self._max_epochs = max_epochs

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        loss, since = self._improved[trial]
        if epoch - since < self._epochs or epoch == self._max_epochs:
            return None
        value = -loss if self._objective.mode == "max" else loss
        return Verdict(self.name, {"rung": epoch, "value": value, "since": since, "epochs": self._epochs})
