"""Population based training: trials that fall behind go on from another's checkpoint, with changed parameters."""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections.abc import Set
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
    goes on. One that is among the worst ``quantile`` of those that have come to its epoch takes over: it goes on from
    the checkpoint that one of the best ``quantile`` had at that epoch, drawn at random, with that one's parameters
    changed. A trial that fails or is stopped is no donor.
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
        max_epochs: int,
        resample: float = 0.25,
    ) -> None:
        super().__init__(objective)
        self._space, self._seed, self._population = space, seed, population
        interval = interval_epochs or max(1, max_epochs // _INTERVALS)
        self._epochs = range(interval, max_epochs, interval)
        self._quantile, self._resample = quantile, resample
        self._mutate = frozenset(mutable(space) if mutate is None else mutate)
        self._params: dict[int, dict[str, Any]] = {}
        self._reached: dict[int, int] = {}
        self._came: dict[int, list[tuple[float, int]]] = {epoch: [] for epoch in self._epochs}  # best first
        self._states: dict[tuple[int, int], tuple[float, dict[str, Any]]] = {}  # trial, epoch -> loss and parameters
        self._behind: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}
        self._passed: dict[int, int] = {}  # trial -> the last epoch after which it was let on
        self._before: dict[int, int] = {}  # the same, of one that has ended
        self._to_pass = dict.fromkeys(self._epochs, population)  # how many trials may still take over there
        self._saved: set[tuple[int, int]] = set()
        self._out: set[int] = set()
        self._answer: tuple[int, Verdict] | None = None
        self._lends: frozenset[tuple[int, int]] | None = None

    def observe(self, event: Event) -> None:
        super().observe(event)
        self._answer = None
        if event.type == "trial.suggested":
            self._params[event["trial"]] = event["params"]
        elif event.type == "segment.checkpointed":
            self._saved.add((event["trial"], event["epoch"]))
        elif event.type == "checkpoints.removed":
            self._saved.difference_update((trial, epoch) for trial, epoch in event["removed"])
        elif event.type == "trial.promoted":
            self._goes_on(event)
        elif event.type in ("trial.stopped", "trial.failed", "trial.finished"):
            self._ends(event)
        elif event.type == "trial.retried":
            self._comes_back(event["trial"])
        elif event.type == "sweep.extended":
            for trial in event["trials"]:
                self._comes_back(trial)

    @property
    def lends(self) -> Set[tuple[int, int]]:
        if self._lends is None:
            share = math.ceil(self._population * self._quantile)
            waited_for = [epoch for epoch, left in self._to_pass.items() if left]
            self._lends = frozenset((trial, epoch) for epoch in waited_for for _, trial in self._came[epoch][:share])
        return self._lends

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        if len(self._params) < self._population and not last:
            return None
        if self._answer is None:  # it is asked again and again until something happens
            self._answer = self._next()
        return self._answer

    def _next(self) -> tuple[int, Verdict] | None:
        while self._behind and self._at.get(self._behind[0][1]) != self._behind[0][0]:
            heapq.heappop(self._behind)
        if not self._behind:
            return None
        epoch, trial = self._behind[0]
        order, loss = self._came[epoch], self._states[trial, epoch][0]
        place = bisect.bisect_left(order, (loss, trial)) + 1
        numbers = {"rung": epoch, "place": place, "of": len(order), "value": self._value(loss)}
        donor = self._donor(trial, epoch, place)
        if donor is None:
            return trial, Verdict(self.name, numbers, "promote")
        numbers |= {"donor": donor, "donor_value": self._value(self._states[donor, epoch][0])}
        return trial, Verdict(self.name, numbers, "promote", (donor, epoch), self._explored(donor, trial, epoch))

    def _donor(self, trial: int, epoch: int, place: int) -> int | None:
        """Whom a trial at that place takes over from; None where it goes on by itself."""
        order, loss = self._came[epoch], self._states[trial, epoch][0]
        share = min(math.ceil(len(order) * self._quantile), len(order) // 2)
        if place <= len(order) - share:
            return None
        donors = [
            other
            for better, other in order[:share]
            if better < loss and other not in self._out and (other, epoch) in self._saved
        ]
        rng = random.Random(derive_seed(self._seed, "donor", trial, epoch))
        return donors[int(rng.random() * len(donors))] if donors else None

    def _explored(self, donor: int, trial: int, epoch: int) -> dict[str, Any]:
        """The donor's parameters, changed: drawn anew at times, else a fifth more or less, or the next choice."""
        params = self._states[donor, epoch][1]
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
        self._pass(trial, self._at.pop(trial))
        if "params" in event.fields:
            self._params[trial] = event["params"]

    def _ends(self, event: Event) -> None:
        trial = event["trial"]
        self._at.pop(trial, None)
        self._before[trial] = self._passed.get(trial, 0)
        self._pass(trial, self._epochs.stop)
        if event.type != "trial.finished":
            self._out.add(trial)

    def _comes_back(self, trial: int) -> None:
        """It had ended, and is to go on after all."""
        self._out.discard(trial)
        passed = self._before.pop(trial, self._epochs.stop)
        for epoch in self._epochs:
            if passed < epoch <= self._passed.get(trial, 0):
                self._to_pass[epoch] += 1
        self._passed[trial] = passed
        self._lends = None

    def _pass(self, trial: int, upto: int) -> None:
        """It will not take over at these epochs any more."""
        passed = self._passed.get(trial, 0)
        for epoch in self._epochs:
            if passed < epoch <= upto:
                self._to_pass[epoch] -= 1
                self._lends = None
        self._passed[trial] = max(upto, passed)

    def _reported(self, trial: int, epoch: int) -> None:
        value = self._last[trial]
        if epoch <= self._reached.get(trial, 0) or not math.isfinite(value):
            return  # an epoch that is done again counts as it was the first time
        self._reached[trial] = epoch
        if epoch in self._epochs:
            loss = self._objective.loss(value)
            self._states[trial, epoch] = loss, self._params[trial]
            bisect.insort(self._came[epoch], (loss, trial))
            self._lends = None

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        if (trial, epoch) not in self._states or epoch <= self._passed.get(trial, 0):
            return None
        return Verdict(self.name, {"rung": epoch, "value": self._value(self._states[trial, epoch][0])}, "set_aside")

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        self._at[trial] = epoch
        heapq.heappush(self._behind, (epoch, trial))

    def _value(self, loss: float) -> float:
        return -loss if self._objective.mode == "max" else loss
