"""Asynchronous successive halving, by stopping and by promotion."""

from __future__ import annotations

import bisect
import heapq
import math
from dataclasses import replace
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.state import Objective


def last_rung(epoch: int, grace_epochs: int, reduction_factor: int) -> int | None:
    """The highest rung that a trial of so many epochs has reached; None below the first."""
    rung = grace_epochs
    while rung * reduction_factor <= epoch:
        rung *= reduction_factor
    return rung if rung <= epoch else None


class ASHA(Scheduler):
    """Asynchronous successive halving, the stopping kind (Li et al. 2020, arXiv:1810.05934).

    Rungs are at ``grace_epochs · reduction_factor^k`` epochs. A trial that reaches one, or reports first after it,
    enters it with its best loss so far, and goes on if it is among the best ``1/reduction_factor`` of those that have
    entered (at least one is). Ties go to the lower trial number.
    """

    name = "asha"

    def __init__(self, objective: Objective, grace_epochs: int, reduction_factor: int) -> None:
        super().__init__(objective)
        self._grace, self._factor = grace_epochs, reduction_factor
        self._rungs: dict[int, Rung] = {}

    def rung(self, epoch: int) -> int | None:
        """The last rung up to that epoch; None below the first."""
        return last_rung(epoch, self._grace, self._factor)

    def _reported(self, trial: int, epoch: int) -> None:
        at = self.rung(epoch)
        if at and trial in self._best:
            self._rungs.setdefault(at, Rung()).enter(trial, self._best[trial], epoch)

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        at = self.rung(epoch)
        rung = self._rungs.get(at or 0)
        if at is None or rung is None or rung.entered.get(trial) != epoch or rung.place(trial) <= self._kept(rung):
            return None
        return Verdict(self.name, self._compared(trial, at, self._kept(rung)))

    def _kept(self, rung: Rung) -> int:
        return max(1, len(rung.order) // self._factor)

    def _compared(self, trial: int, epoch: int, kept: int) -> dict[str, Any]:
        """The numbers of a comparison; ``needed`` is the value of the last one kept, None where none is."""
        rung, sign = self._rungs[epoch], -1 if self._objective.mode == "max" else 1
        numbers = {"rung": epoch, "place": rung.place(trial), "of": len(rung.order), "kept": kept}
        needed = sign * rung.order[kept - 1][0] if kept else None
        return {**numbers, "value": sign * rung.loss[trial], "needed": needed}


class PromotionASHA(ASHA):
    """Asynchronous successive halving as it was published: a trial waits at each rung until it is promoted.

    At a rung a trial goes straight on if it is among the best ``1/reduction_factor`` of those that have entered, else
    it is set aside; a slot that becomes free goes first to the best trial of the highest rung that has come to be among
    them meanwhile. When nothing else is left to run, the best of each rung goes on, so that one sees the end.
    """

    def __init__(self, objective: Objective, grace_epochs: int, reduction_factor: int, max_epochs: int | None) -> None:
        super().__init__(objective, grace_epochs, reduction_factor)
        self._max_epochs = max_epochs
        self._waiting: dict[int, list[tuple[float, int]]] = {}
        self._at: dict[int, int] = {}  # trial set aside -> its rung
        self._passed: dict[int, int] = {}  # trial -> the last rung that it was promoted from
        self._reached: dict[int, int] = {}

    def rung(self, epoch: int) -> int | None:
        """Nobody waits at the end of the training."""
        return None if epoch == self._max_epochs else super().rung(epoch)

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        for epoch in sorted(self._waiting, reverse=True):
            waiting, rung = self._waiting[epoch], self._rungs[epoch]
            while waiting and self._at.get(waiting[0][1]) != epoch:
                heapq.heappop(waiting)
            kept = max(self._kept(rung), int(last))
            if waiting and rung.place(trial := waiting[0][1]) <= kept:
                return trial, Verdict(self.name, self._compared(trial, epoch, kept), "promote")
        return None

    def dismiss(self, trial: int) -> Verdict:
        epoch = self._at[trial]
        return Verdict(self.name, self._compared(trial, epoch, max(1, self._kept(self._rungs[epoch]))))

    def observe(self, event: Event) -> None:
        super().observe(event)
        if event.type in ("trial.promoted", "trial.stopped"):
            rung = self._at.pop(event["trial"], None)
            if rung is not None and event.type == "trial.promoted":
                self._passed[event["trial"]] = rung

    def _reported(self, trial: int, epoch: int) -> None:
        super()._reported(trial, epoch)
        self._reached[trial] = max(epoch, self._reached.get(trial, 0))

    def _extended(self, max_epochs: int) -> None:
        self._max_epochs = max_epochs

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        at = self.rung(epoch)
        if self._reached[trial] > epoch or self._passed.get(trial, 0) >= (at or math.inf):
            return None  # it was let past, and does this epoch again for want of a checkpoint
        verdict = super()._judge(trial, epoch)
        return verdict and replace(verdict, action="set_aside")

    def _kept(self, rung: Rung) -> int:
        return len(rung.order) // self._factor

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        at = self.rung(epoch)
        assert at
        self._at[trial] = at
        heapq.heappush(self._waiting.setdefault(at, []), (self._rungs[at].loss[trial], trial))


class Rung:
    """The trials at a rung, best first, kept in order as they enter."""

    def __init__(self) -> None:
        self.loss: dict[int, float] = {}
        self.entered: dict[int, int] = {}  # at which epoch
        self.order: list[tuple[float, int]] = []

    def enter(self, trial: int, loss: float, epoch: int) -> None:
        """A trial is there; what it came with the first time counts."""
        if trial not in self.loss:
            self.loss[trial], self.entered[trial] = loss, epoch
            bisect.insort(self.order, (loss, trial))

    def place(self, trial: int) -> int:
        return bisect.bisect_left(self.order, (self.loss[trial], trial)) + 1
