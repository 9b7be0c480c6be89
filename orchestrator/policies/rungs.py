"""Rungs: the places at which trials are compared, and the trials at each."""

from __future__ import annotations

import bisect
import heapq
import math
from collections import OrderedDict, deque
from typing import Any

from orchestrator.policies.loss_curves import Compared
from orchestrator.progress import whole

_ROUNDING = 1 + 1e-9
"""Relative tolerance of a rung: shares of a horizon are rounded."""
REMEMBERED = 48
"""The latest trials at a rung that count as evidence, at most: a bound on the cost of a decision."""


GRACE = (
    "A number in the unit of progress, or text such as 500 steps. By default one epoch; in other units, or if a trial "
    "has no more than one epoch, horizon / reduction_factor^3, and at least from one report to the next."
)
"""How the default of a scheduler's ``grace`` is chosen, for its description."""


def grace_of(options: Any) -> float:
    """Return the first rung of a scheduler's options; 1 if they belong to no spec, which would have said it."""
    return 1 if options.grace is None else whole(options.grace)


def last_rung(progress: float, grace: float, reduction_factor: int) -> float | None:
    """Return the highest rung that a trial has reached at this progress; None below the first."""
    rung = grace
    while rung * reduction_factor <= progress:
        rung = whole(rung * reduction_factor)
    return rung if rung <= progress else None


def rung_places(first: float, factor: int, last: float) -> list[float]:
    """Return ``first · factor^k`` as far as they are below ``last``, and ``last``."""
    places = []
    while first * _ROUNDING < last:
        places.append(first)
        first = whole(first * factor)
    return [*places, last]


class Rung:
    """The trials at a rung, best first, kept in order as they enter.

    Attributes:
        loss: trial number to the loss it entered with.
        compared: trial number to that loss, and how it came about.
        entered: trial number to the progress at which it entered.
        order: (loss, trial number), best first.
    """

    def __init__(self) -> None:
        self.loss: dict[int, float] = {}
        self.compared: dict[int, Compared] = {}
        self.entered: dict[int, float] = {}
        self.order: list[tuple[float, int]] = []

    def enter(self, trial: int, compared: Compared, progress: float) -> None:
        """Add a trial; if it is there already, its first loss counts."""
        if trial not in self.loss:
            self.loss[trial], self.entered[trial], self.compared[trial] = compared.loss, progress, compared
            bisect.insort(self.order, (compared.loss, trial))

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

    def enter(self, trial: int, compared: Compared, progress: float) -> None:
        """Add a trial, as the latest."""
        super().enter(trial, compared, progress)
        self.latest.append((compared.loss, trial))

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
