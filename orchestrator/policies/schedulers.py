"""Schedulers: after each report, go on or stop, and by which rule, with the numbers compared."""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.journal import Event
from orchestrator.spec import SweepSpec
from orchestrator.state import Objective


@dataclass(frozen=True)
class Verdict:
    """Why a trial is stopped: the rule's name and the numbers that were compared."""

    rule: str
    why: Mapping[str, Any] = field(default_factory=dict)


class Scheduler(ABC):
    """Judges reports. Sees every event in order; ``judge`` speaks of a report that ``observe`` has seen."""

    name: str

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._last: dict[int, float] = {}
        self._best: dict[int, float] = {}

    def observe(self, event: Event) -> None:
        """Take note of what happened. Losses are the objective with its sign turned so that lower is better."""
        if event.type == "segment.reported":
            trial, value = event["trial"], float(event["metrics"].get(self._objective.metric, math.nan))
            self._last[trial] = value
            if math.isfinite(value):
                self._best[trial] = min(self._objective.loss(value), self._best.get(trial, math.inf))
            self._reported(trial, event["epoch"])

    def judge(self, trial: int, epoch: int) -> Verdict | None:
        """None to go on. A value that is not finite stops a trial at once, whatever the scheduler."""
        value = self._last[trial]
        if not math.isfinite(value):
            return Verdict("not_finite", {"metric": self._objective.metric, "value": str(value)})
        return self._judge(trial, epoch)

    def _reported(self, trial: int, epoch: int) -> None:
        """A report came in."""
        return

    @abstractmethod
    def _judge(self, trial: int, epoch: int) -> Verdict | None: ...


def last_rung(epoch: int, grace_epochs: int, reduction_factor: int) -> int | None:
    """The highest rung that a trial of so many epochs has reached; None below the first."""
    rung = grace_epochs
    while rung * reduction_factor <= epoch:
        rung *= reduction_factor
    return rung if rung <= epoch else None


class FIFO(Scheduler):
    """Every trial runs to its end."""

    name = "fifo"

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        return None


class ASHA(Scheduler):
    """Asynchronous successive halving, the stopping kind (Li et al. 2020, arXiv:1810.05934).

    Rungs are at ``grace_epochs · reduction_factor^k`` epochs. A trial that reaches one enters it with its best loss so
    far, and goes on if it is among the best ``1/reduction_factor`` of those that have entered (at least one is).
    Ties go to the lower trial number.
    """

    name = "asha"

    def __init__(self, objective: Objective, grace_epochs: int, reduction_factor: int) -> None:
        super().__init__(objective)
        self._grace, self._factor = grace_epochs, reduction_factor
        self._rungs: dict[int, _Rung] = {}

    def is_rung(self, epoch: int) -> bool:
        """Whether trials are compared at that epoch."""
        return last_rung(epoch, self._grace, self._factor) == epoch

    def _reported(self, trial: int, epoch: int) -> None:
        if self.is_rung(epoch) and trial in self._best:
            self._rungs.setdefault(epoch, _Rung()).enter(trial, self._best[trial])

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        rung = self._rungs.get(epoch)
        if rung is None or trial not in rung.loss:
            return None
        kept = max(1, len(rung.order) // self._factor)
        place = rung.place(trial)
        if place <= kept:
            return None
        sign = -1 if self._objective.mode == "max" else 1
        numbers = {"rung": epoch, "place": place, "of": len(rung.order), "kept": kept}
        return Verdict("asha", {**numbers, "value": sign * rung.loss[trial], "needed": sign * rung.order[kept - 1][0]})


class _Rung:
    """The trials at a rung, best first, kept in order as they enter."""

    def __init__(self) -> None:
        self.loss: dict[int, float] = {}
        self.order: list[tuple[float, int]] = []

    def enter(self, trial: int, loss: float) -> None:
        """A trial is there; what it came with the first time counts."""
        if trial not in self.loss:
            self.loss[trial] = loss
            bisect.insort(self.order, (loss, trial))

    def place(self, trial: int) -> int:
        return bisect.bisect_left(self.order, (self.loss[trial], trial)) + 1


def build_scheduler(spec: SweepSpec) -> Scheduler:
    """The spec's scheduler, with nothing observed yet."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    if spec.scheduler.name == "asha":
        return ASHA(objective, **spec.scheduler.model_dump(exclude={"name"}))
    return FIFO(objective)
