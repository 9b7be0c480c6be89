"""Population based training: trials that fall behind go on from another's checkpoint, with changed parameters."""

from __future__ import annotations

import bisect
import heapq
import math
import random
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import mutable
from orchestrator.state import Objective

_INTERVALS = 10  # of a training whose interval is not given


class PBT(Scheduler):
    """Population based training (Jaderberg et al. 2017, arXiv:1711.09846), asynchronous.

    Every ``interval_epochs`` a trial is set aside; once all of the population have begun, whichever is furthest behind
    goes on. One that is, at its epoch, among the worst ``quantile`` of those that have come there takes over: it goes
    on from the latest checkpoint of one of the best ``quantile``, drawn at random, with that one's parameters changed.
    A trial that fails or is stopped is no donor.
    """

    name = "pbt"

    def __init__(
        self,
        objective: Objective,
        space: Space,
        seed: int,
        *,
        population: int,
        interval_epochs: int | None,
        quantile: float,
        mutate: list[str] | None,
        max_epochs: int | None,
        resample: float = 0.25,
    ) -> None:
        super().__init__(objective)
        self._space, self._seed, self._population = space, seed, population
        self._interval = interval_epochs or max(1, (max_epochs or 1) // _INTERVALS)
        self._quantile, self._resample, self._max_epochs = quantile, resample, max_epochs
        self._mutate = frozenset(mutable(space) if mutate is None else mutate)
        self._params: dict[int, dict[str, Any]] = {}
        self._reached: dict[int, int] = {}
        self._came: dict[int, list[tuple[float, int]]] = {}  # interval's epoch -> who has come, best first
        self._behind: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}
        self._passed: dict[int, int] = {}  # trial -> the last epoch after which it was let on
        self._losses: dict[tuple[int, int], float] = {}
        self._saved: dict[int, set[int]] = {}
        self._out: set[int] = set()

    def observe(self, event: Event) -> None:
        super().observe(event)
        if event.type == "trial.suggested":
            self._params[event["trial"]] = event["params"]
        elif event.type == "segment.checkpointed":
            self._saved.setdefault(event["trial"], set()).add(event["epoch"])
        elif event.type == "checkpoints.removed":
            for trial, epoch in event["removed"]:
                self._saved[trial].discard(epoch)
        elif event.type == "trial.promoted":
            self._goes_on(event)
        elif event.type in ("trial.stopped", "trial.failed"):
            self._at.pop(event["trial"], None)
            self._out.add(event["trial"])
        elif event.type == "trial.retried":
            self._out.discard(event["trial"])

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        if len(self._params) < self._population and not last:
            return None
        while self._behind and self._at.get(self._behind[0][1]) != self._behind[0][0]:
            heapq.heappop(self._behind)
        if not self._behind:
            return None
        epoch, trial = self._behind[0]
        order, loss = self._came[epoch], self._losses[trial, epoch]
        place = bisect.bisect_left(order, (loss, trial)) + 1
        numbers = {"rung": epoch, "place": place, "of": len(order), "value": self._value(loss)}
        donor = self._donor(trial, epoch, place)
        if donor is None:
            return trial, Verdict(self.name, numbers, "promote")
        held = max(self._saved[donor])
        numbers |= {"donor": donor, "donor_epoch": held, "donor_value": self._value(self._losses[donor, epoch])}
        params = self._explored(donor, trial, epoch)
        return trial, Verdict(self.name, numbers, "promote", (donor, held), params)

    def _donor(self, trial: int, epoch: int, place: int) -> int | None:
        """Whom a trial at that place takes over from; None where it goes on by itself."""
        order = self._came[epoch]
        share = min(math.ceil(len(order) * self._quantile), len(order) // 2)
        if place <= len(order) - share:
            return None
        donors = [
            other
            for loss, other in order[:share]
            if loss < self._losses[trial, epoch]
            and other not in self._out
            and max(self._saved.get(other, ()), default=0) >= epoch
        ]
        rng = random.Random(derive_seed(self._seed, "donor", trial, epoch))
        return donors[int(rng.random() * len(donors))] if donors else None

    def _explored(self, donor: int, trial: int, epoch: int) -> dict[str, Any]:
        """The donor's parameters, changed: drawn anew at times, else a fifth more or less, or the next choice."""
        params = self._params[donor]
        rng = random.Random(derive_seed(self._seed, "explore", trial, epoch))
        found: dict[str, Any] = {}
        for name in self._space.order:
            if not self._space.active(found, name):
                continue
            domain = self._space[name]
            if name in params and name not in self._mutate:
                found[name] = params[name]
            elif name not in params or rng.random() < self._resample:
                found[name] = domain.sample(rng)
            else:
                found[name] = domain.nudged(params[name], 1.2 if rng.random() < 0.5 else 0.8)
        return found

    def _goes_on(self, event: Event) -> None:
        trial = event["trial"]
        self._passed[trial] = self._at.pop(trial, self._reached.get(trial, 0))
        if "params" in event.fields:
            self._params[trial] = event["params"]
            self._reached[trial] = event["donor"][1]

    def _reported(self, trial: int, epoch: int) -> None:
        value = self._last[trial]
        if epoch <= self._reached.get(trial, 0) or not math.isfinite(value):
            return  # an epoch that is done again counts as it was the first time
        self._reached[trial] = epoch
        if epoch % self._interval == 0 and epoch != self._max_epochs:
            self._losses[trial, epoch] = self._objective.loss(value)
            bisect.insort(self._came.setdefault(epoch, []), (self._losses[trial, epoch], trial))

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        if (trial, epoch) not in self._losses or epoch <= self._passed.get(trial, 0):
            return None
        numbers = {"rung": epoch, "value": self._value(self._losses[trial, epoch])}
        return Verdict(self.name, numbers, "set_aside")

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        self._at[trial] = epoch
        heapq.heappush(self._behind, (epoch, trial))

    def _value(self, loss: float) -> float:
        return -loss if self._objective.mode == "max" else loss
