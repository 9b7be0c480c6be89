"""Hyperband: successive halving in brackets that differ in how early they compare."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.state import Objective

_LEAVES = frozenset({"trial.stopped", "trial.failed", "trial.finished"})


@dataclass
class _Rung:
    """Where a bracket's trials wait for one another. ``members`` is how many are to come, ``gone`` never will."""

    epoch: int
    members: int = 0
    gone: int = 0
    loss: dict[int, float] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)  # once it is decided, best first
    kept: int = 0


@dataclass
class _Bracket:
    number: int  # as in the paper: the aggressive one has the highest
    rungs: list[_Rung]


class Hyperband(Scheduler):
    """Hyperband (Li et al. 2018, arXiv:1603.06560): the paper's brackets one after another, and again from the first.

    Bracket s begins with ``ceil((s_max + 1) / (s + 1) · η^s)`` trials and compares them first at ``max_epochs / η^s``
    epochs. At each rung trials are set aside until all of the bracket's have come, or have failed; the best ``1/η`` of
    them (at least one) go on, and the others end. While a bracket waits, the next one's trials take the slots. One that
    goes on by request does not wait; what it came with still counts, and if it is not among the best there is one more.
    """

    name = "hyperband"

    def __init__(
        self, objective: Objective, grace_epochs: int, reduction_factor: int, max_epochs: int, trials: int | None
    ) -> None:
        super().__init__(objective)
        self._factor, self._trials = reduction_factor, trials
        self._kinds = brackets(grace_epochs, reduction_factor, max_epochs)
        *self._begins, self._cycle = accumulate((size for _, size, _ in self._kinds), initial=0)
        self._brackets: dict[int, _Bracket] = {}
        self._next: dict[int, int] = {}  # trial -> the rung that it comes to next
        self._release: dict[int, Verdict] = {}  # what is decided and has not happened yet
        self._away: set[int] = set()

    def observe(self, event: Event) -> None:
        super().observe(event)
        if event.type == "trial.promoted":
            self._promoted(event["trial"], asked=event["rule"] == "request")
        elif event.type in _LEAVES:
            self._left(event["trial"], by_rule=event.fields.get("rule") == self.name)
        elif event.type == "trial.retried":
            self._came_back(event["trial"])
        elif event.type == "sweep.extended":
            for trial in event["trials"]:
                self._came_back(trial)
            self._more_trials(event["changed"].get("budget", {}).get("trials"))

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        if self._release:
            return next(iter(self._release.items()))
        if not last:
            return None
        first = min(self._aside, default=None)
        if first is None:
            return None
        # Nobody else will come to this rung: whoever is best of those that did goes on, unless it is ahead already.
        bracket = self._bracket(first)
        waiting = [trial for trial in self._aside if self._bracket(trial) is bracket]
        rung = self._rung(min(waiting, key=lambda trial: self._next.get(trial, 0)))
        order = _ordered(rung.loss)
        kept = self._keeps(len(order) + rung.gone)
        trial = next(trial for trial in order if trial in self._aside and self._rung(trial) is rung)
        return trial, self._verdict(bracket, rung, order, trial, kept, "promote" if trial in order[:kept] else "stop")

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        bracket, rung = self._bracket(trial), self._rung(trial)
        if epoch < rung.epoch or rung is bracket.rungs[-1]:
            return None
        return Verdict(
            self.name, {"rung": epoch, "bracket": bracket.number, "value": self._value(self._best[trial])}, "set_aside"
        )

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        rung = self._rung(trial)
        rung.loss[trial] = self._best[trial]
        if rung.order:  # it failed once, was given another chance, and comes when the others have gone
            rung.order = _ordered(rung.loss)
            self._decide_on(self._bracket(trial), rung, trial)
        else:
            self._decide(self._bracket(trial), rung)

    def _decide(self, bracket: _Bracket, rung: _Rung, *, now: bool = False) -> None:
        """Who goes on and who ends, once all are there, or ``now``. The losers first: they hold checkpoints."""
        place = bracket.rungs.index(rung)
        open_before = place > 0 and not bracket.rungs[place - 1].order  # only one that was asked for is here by then
        if rung.order or not rung.loss or ((len(rung.loss) + rung.gone < rung.members or open_before) and not now):
            return
        rung.order, rung.kept = _ordered(rung.loss), self._keeps(len(rung.loss) + rung.gone)
        for trial in rung.order[rung.kept :] + rung.order[: rung.kept]:
            self._decide_on(bracket, rung, trial)
        if rung is not bracket.rungs[-1]:  # all who come there may be there already
            self._decide(bracket, bracket.rungs[place + 1])

    def _decide_on(self, bracket: _Bracket, rung: _Rung, trial: int) -> None:
        if self._rung(trial) is not rung:
            return  # it has gone ahead
        wins = rung.order.index(trial) < rung.kept
        if wins:
            bracket.rungs[bracket.rungs.index(rung) + 1].members += 1
        self._release[trial] = self._verdict(bracket, rung, rung.order, trial, rung.kept, "promote" if wins else "stop")

    def _promoted(self, trial: int, *, asked: bool) -> None:
        bracket, rung = self._bracket(trial), self._rung(trial)
        if trial not in self._release and not asked:  # by way of `last`
            self._decide(bracket, rung, now=True)
        decided = self._release.pop(trial, None)
        if decided is None or decided.action == "stop":  # one more than the rule lets on
            bracket.rungs[bracket.rungs.index(rung) + 1].members += 1
        self._next[trial] = self._next.get(trial, 0) + 1

    def _left(self, trial: int, *, by_rule: bool) -> None:
        """It will come to no further rung."""
        bracket, rung = self._bracket(trial), self._rung(trial)
        if by_rule and trial not in self._release:  # by way of `last`
            self._decide(bracket, rung, now=True)
        decided = self._release.pop(trial, None)
        if decided and decided.action == "stop":
            return
        if decided:
            rung = bracket.rungs[bracket.rungs.index(rung) + 1]
        rung.loss.pop(trial, None)
        self._away.add(trial)
        rung.gone += 1
        self._decide(bracket, rung)

    def _came_back(self, trial: int) -> None:
        if trial in self._away:
            self._away.discard(trial)
            self._rung(trial).gone -= 1

    def _more_trials(self, trials: int | None) -> None:
        """The last bracket may have been cut short by the end of the budget; its first rung may yet fill up."""
        if trials is None:
            return
        self._trials = trials
        for key, bracket in self._brackets.items():
            if not bracket.rungs[0].order:
                bracket.rungs[0].members = self._members(key)

    def _members(self, key: int) -> int:
        """How many trials a bracket begins with."""
        cycle, kind = divmod(key, len(self._kinds))
        size = self._kinds[kind][1]
        first = cycle * self._cycle + self._begins[kind]
        return size if self._trials is None else min(size, self._trials - first)

    def _keeps(self, members: int) -> int:
        return max(1, members // self._factor)

    def _bracket(self, trial: int) -> _Bracket:
        cycle, offset = divmod(trial, self._cycle)
        kind = bisect.bisect_right(self._begins, offset) - 1
        key = cycle * len(self._kinds) + kind
        if key not in self._brackets:
            number, _, epochs = self._kinds[kind]
            rungs = [_Rung(epoch) for epoch in epochs]
            rungs[0].members = self._members(key)
            self._brackets[key] = _Bracket(number, rungs)
        return self._brackets[key]

    def _rung(self, trial: int) -> _Rung:
        return self._bracket(trial).rungs[self._next.get(trial, 0)]

    def _verdict(self, bracket: _Bracket, rung: _Rung, order: list[int], trial: int, kept: int, action: Any) -> Verdict:
        kept = min(kept, len(order))
        place, needed = order.index(trial) + 1, self._value(rung.loss[order[kept - 1]])
        numbers = {"rung": rung.epoch, "bracket": bracket.number, "place": place, "of": len(order), "kept": kept}
        return Verdict(self.name, {**numbers, "value": self._value(rung.loss[trial]), "needed": needed}, action)

    def _value(self, loss: float) -> float:
        return -loss if self._objective.mode == "max" else loss


def brackets(grace_epochs: int, factor: int, max_epochs: int) -> list[tuple[int, int, list[int]]]:
    """Each bracket's number, its trials and the epochs of its rungs, the last of which is the end of the training."""
    most = 0
    while grace_epochs * factor ** (most + 1) <= max_epochs:
        most += 1
    return [
        (
            number,
            math.ceil((most + 1) / (number + 1) * factor**number),
            [max(1, max_epochs // factor**rung) for rung in range(number, -1, -1)],
        )
        for number in range(most, -1, -1)
    ]


def _ordered(loss: dict[int, float]) -> list[int]:
    return sorted(loss, key=lambda trial: (loss[trial], trial))
