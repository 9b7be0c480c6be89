"""Rungs where trials wait, and how well one rung agrees with a later one."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque

from orchestrator.policies.schedulers.asha import Rung

REMEMBERED = 48
"""The latest so many trials at a rung bear witness: a bound on the cost of a decision."""


class WaitingRung(Rung):
    """A rung, who waits there, and who came last."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: OrderedDict[int, None] = OrderedDict()  # by how long
        self.controls: OrderedDict[int, None] = OrderedDict()  # of these the controls
        self.latest: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._queue: list[tuple[float, int]] = []

    def enter(self, trial: int, loss: float, epoch: int) -> None:
        super().enter(trial, loss, epoch)
        self.latest.append((loss, trial))

    def wait(self, trial: int, *, control: bool) -> None:
        self.waiting[trial] = None
        if control:
            self.controls[trial] = None
        heapq.heappush(self._queue, (self.loss[trial], trial))

    def leave(self, trial: int) -> None:
        self.waiting.pop(trial, None)
        self.controls.pop(trial, None)

    def first(self) -> int | None:
        """The best that waits."""
        while self._queue and self._queue[0][1] not in self.waiting:
            heapq.heappop(self._queue)
        return self._queue[0][1] if self._queue else None


def concordance(losses: list[float]) -> tuple[float, float]:
    """In what share of pairs the earlier of the list is the lower; and the standard error of that share by chance."""
    count = len(losses)
    ahead = sum((a < b) + 0.5 * (a == b) for place, a in enumerate(losses) for b in losses[place + 1 :])
    return ahead / (count * (count - 1) / 2), math.sqrt((2 * count + 5) / (18 * count * (count - 1)))


def rung_epochs(first: int, factor: int, last: int) -> list[int]:
    """``first · factor^k`` as far as they are below ``last``, and ``last``."""
    found = []
    while first < last:
        found.append(first)
        first *= factor
    return [*found, last]
