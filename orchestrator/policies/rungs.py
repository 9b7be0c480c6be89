"""Rungs: the places at which trials are compared, and the trials at each."""

from __future__ import annotations

import bisect
import heapq
import math
from collections import OrderedDict, deque

REMEMBERED = 48
"""The latest trials at a rung that count as evidence, at most: a bound on the cost of a decision."""


def last_rung(progress: float, grace: float, reduction_factor: int) -> float | None:
    """Return the highest rung that a trial has reached at this progress; None below the first."""
    rung = grace
    while rung * reduction_factor <= progress:
        rung *= reduction_factor
    return rung if rung <= progress else None


def rung_places(first: float, factor: int, last: float) -> list[float]:
    """Return ``first · factor^k`` as far as they are below ``last``, and ``last``."""
    places = []
    while first < last:
        places.append(first)
        first *= factor
    return [*places, last]


class Rung:
    """The trials at a rung, best first, kept in order as they enter.

    Attributes:
        loss: trial number to the loss it entered with.
        entered: trial number to the progress at which it entered.
        order: (loss, trial number), best first.
    """

    def __init__(self) -> None:
        self.loss: dict[int, float] = {}
        self.entered: dict[int, float] = {}
        self.order: list[tuple[float, int]] = []

    def enter(self, trial: int, loss: float, progress: float) -> None:
        """Add a trial; if it is there already, its first loss counts."""
        if trial not in self.loss:
            self.loss[trial], self.entered[trial] = loss, progress
            bisect.insort(self.order, (loss, trial))

    def place(self, trial: int) -> int:
        """Return a trial's place among all that have entered, from 1."""
        return bisect.bisect_left(self.order, (self.loss[trial], trial)) + 1


class WaitingRung(Rung):
    """A rung at which trials wait.

    Attributes:
        waiting: the trials that wait, longest first.
        controls: those of them that are controls.
        latest: (loss, trial number) of the latest to enter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: OrderedDict[int, None] = OrderedDict()
        self.controls: OrderedDict[int, None] = OrderedDict()
        self.latest: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._queue: list[tuple[float, int]] = []

    def enter(self, trial: int, loss: float, progress: float) -> None:
        """Add a trial, as the latest."""
        super().enter(trial, loss, progress)
        self.latest.append((loss, trial))

    def wait(self, trial: int, *, control: bool) -> None:
        """Let a trial that has entered wait."""
        self.waiting[trial] = None
        if control:
            self.controls[trial] = None
        heapq.heappush(self._queue, (self.loss[trial], trial))

    def leave(self, trial: int) -> None:
        """Remove a trial from those that wait."""
        self.waiting.pop(trial, None)
        self.controls.pop(trial, None)

    def best_waiting(self) -> int | None:
        """Return the best trial that waits; None if none does."""
        while self._queue and self._queue[0][1] not in self.waiting:
            heapq.heappop(self._queue)
        return self._queue[0][1] if self._queue else None


def concordance(losses: list[float]) -> tuple[float, float]:
    """Return the share of pairs of which the earlier in the list is lower, and that share's standard error by chance.

    Source: Kendall 1938.
    """
    count = len(losses)
    ordered = sum((a < b) + 0.5 * (a == b) for place, a in enumerate(losses) for b in losses[place + 1 :])
    return ordered / (count * (count - 1) / 2), math.sqrt((2 * count + 5) / (18 * count * (count - 1)))
