"""Hyperband: successive halving in brackets that differ in how early they compare."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.journal import Event
from orchestrator.policies.loss_curves import Compared
from orchestrator.policies.rungs import GRACE, grace_of
from orchestrator.policies.scheduler import Scheduler, Verdict, placed_text, rung_text
from orchestrator.progress import plain, span, whole
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span, end_of

_ENDS = frozenset({"trial.stopped", "trial.failed", "trial.finished"})


@dataclass
class _Rung:
    """Where a bracket's trials wait for one another.

    ``members`` counts those that are to come, ``gone`` those of them that never will. ``order`` is set once the rung is
    decided: trial numbers, best first, of which ``kept`` continue.
    """

    at: float
    members: int = 0
    gone: int = 0
    loss: dict[int, float] = field(default_factory=dict)
    compared: dict[int, Compared] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    kept: int = 0


@dataclass
class _Bracket:
    number: int  # as in the paper: the bracket that compares first has the highest
    rungs: list[_Rung]


class Hyperband(SchedulerOptions):
    """Successive halving in brackets that differ in how early they compare; with searcher bohb, BOHB.

    Example:
        ```python
        scheduler = orchestrator.Hyperband(reduction_factor=3)
        ```
    """

    name: Literal["hyperband"] = "hyperband"
    renamed: ClassVar[dict[str, str]] = {"grace_epochs": "grace"}
    grace: Span = Field(
        default=None, description=f"Progress before the first rung, at least, in any bracket. {GRACE}", examples=[1]
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="Ratio from rung to rung, in progress and in surviving trials.", examples=[3]
    )


class HyperbandScheduler(Scheduler[Hyperband]):
    """Hyperband (Li et al. 2018, arXiv:1603.06560): the paper's brackets one after another, and again from the first.

    Bracket s begins with ``ceil((s_max + 1) / (s + 1) · η^s)`` trials and compares them first at ``horizon / η^s``. At
    each rung trials are set aside until all of the bracket's have come, or have failed; the best ``1/η`` of them (at
    least one) continue, and the others end. While a bracket waits, the next one's trials take the slots. A trial that
    is promoted by request does not wait. Its loss still counts at the rung, and if it is not among the best there, one
    trial more continues.
    """

    exact = True
    divides_epochs = True

    def __init__(self, options: Hyperband, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._factor, self._trials = options.reduction_factor, spec.budget.trials
        self._kinds = brackets(grace_of(options), self._factor, spec.horizon or 1)
        *self._begins, self._cycle = accumulate((size for _, size, _ in self._kinds), initial=0)
        self._brackets: dict[int, _Bracket] = {}
        self._next: dict[int, int] = {}  # trial -> the rung that it comes to next
        self._release: dict[int, Verdict] = {}  # what is decided and has not happened yet
        self._gone: set[int] = set()

    @classmethod
    def problems(cls, options: Hyperband, spec: SweepSpec) -> Iterator[Problem]:
        """Yield what keeps brackets from being laid out."""
        unit, grace = spec.progress.unit, grace_of(options)
        if spec.horizon is None:
            end = end_of(unit)
            yield Problem(f"scheduler hyperband needs {end}: its rungs are shares of it",
                          f"give {end}, or use scheduler asha", ("scheduler",))  # fmt: skip
        elif grace > spec.horizon:
            share = share_of(spec.horizon, options.reduction_factor)
            yield Problem(f"grace is {span(grace, unit)}, beyond the end at {span(spec.horizon, unit)}",
                          f"use grace: {plain(share)}, or train for longer", ("scheduler", "grace"))  # fmt: skip

    @classmethod
    def rungs(cls, options: Hyperband, horizon: float) -> list[float]:
        """Return the rungs of all brackets."""
        kinds = brackets(grace_of(options), options.reduction_factor, horizon)
        return sorted({rung for _, _, rungs in kinds for rung in rungs})

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say how many trials the bracket compared, which place this one took, and what was needed."""
        return (
            f"Hyperband's bracket {why['bracket']} compared {why['of']} trials at {rung_text(why)} and kept the "
            f"best {why['kept']}; {placed_text(why)}"
        )

    def observe(self, event: Event) -> None:
        """Take note of an event, and decide a rung once it is complete."""
        super().observe(event)
        if event.type == "trial.promoted":
            self._promoted(event["trial"], by_request=event["rule"] == "request")
        elif event.type in _ENDS:
            self._ended(event["trial"], by_rule=event.fields.get("rule") == self.name)
        elif event.type == "trial.retried":
            self._restore(event["trial"])
        elif event.type == "sweep.extended":
            for trial in event["trials"]:
                self._restore(trial)
            self._raise_budget(event["changed"].get("budget", {}).get("trials"))

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """Return what is decided, losers first; at the end of the sweep, what the trials that wait allow."""
        if self._release:
            return next(iter(self._release.items()))
        if not last:
            return None
        first = min(self.set_aside, default=None)
        if first is None:
            return None
        # No other trial will come to this rung: the best of those that did continues, unless it is ahead already.
        bracket = self._bracket(first)
        waiting = [trial for trial in self.set_aside if self._bracket(trial) is bracket]
        rung = self._rung(min(waiting, key=lambda trial: self._next.get(trial, 0)))
        order = _ordered(rung.loss)
        kept = self._keeps(len(order) + rung.gone)
        trial = next(trial for trial in order if trial in self.set_aside and self._rung(trial) is rung)
        return trial, self._verdict(bracket, rung, order, trial, kept, "promote" if trial in order[:kept] else "stop")

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Set aside a trial that has come to its next rung."""
        bracket, rung = self._bracket(trial), self._rung(trial)
        if progress < rung.at or rung is bracket.rungs[-1]:
            return None
        compared = self.loss_at(trial, rung.at)
        numbers = {"rung": rung.at if self._interpolates else progress, "bracket": bracket.number}
        return Verdict(self.name, {**numbers, "value": self.value(compared.loss), **compared.why}, "set_aside")

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait at its rung, and decide the rung once it is complete."""
        rung = self._rung(trial)
        rung.compared[trial] = self.loss_at(trial, rung.at)
        rung.loss[trial] = rung.compared[trial].loss
        if rung.order:  # it failed, was retried, and comes after the rung was decided
            rung.order = _ordered(rung.loss)
            self._decide_on(self._bracket(trial), rung, trial)
        else:
            self._decide(self._bracket(trial), rung)

    def _decide(self, bracket: _Bracket, rung: _Rung, *, now: bool = False) -> None:
        """Decide which trials continue, once all have come, or ``now``. The losers first: they hold checkpoints."""
        place = bracket.rungs.index(rung)
        open_before = place > 0 and not bracket.rungs[place - 1].order  # a trial promoted by request is here early
        if rung.order or not rung.loss or ((len(rung.loss) + rung.gone < rung.members or open_before) and not now):
            return
        rung.order, rung.kept = _ordered(rung.loss), self._keeps(len(rung.loss) + rung.gone)
        for trial in rung.order[rung.kept :] + rung.order[: rung.kept]:
            self._decide_on(bracket, rung, trial)
        if rung is not bracket.rungs[-1]:  # all trials of the next rung may have come already
            self._decide(bracket, bracket.rungs[place + 1])

    def _decide_on(self, bracket: _Bracket, rung: _Rung, trial: int) -> None:
        if self._rung(trial) is not rung:
            return  # it is ahead already
        wins = rung.order.index(trial) < rung.kept
        if wins:
            bracket.rungs[bracket.rungs.index(rung) + 1].members += 1
        self._release[trial] = self._verdict(bracket, rung, rung.order, trial, rung.kept, "promote" if wins else "stop")

    def _promoted(self, trial: int, *, by_request: bool) -> None:
        bracket, rung = self._bracket(trial), self._rung(trial)
        if trial not in self._release and not by_request:  # by `promote(last=True)`
            self._decide(bracket, rung, now=True)
        decided = self._release.pop(trial, None)
        if decided is None or decided.action == "stop":  # one more than the rule allows
            bracket.rungs[bracket.rungs.index(rung) + 1].members += 1
        self._next[trial] = self._next.get(trial, 0) + 1

    def _ended(self, trial: int, *, by_rule: bool) -> None:
        """Take note that a trial will come to no further rung."""
        bracket, rung = self._bracket(trial), self._rung(trial)
        if by_rule and trial not in self._release:  # by `promote(last=True)`
            self._decide(bracket, rung, now=True)
        decided = self._release.pop(trial, None)
        if decided and decided.action == "stop":
            return
        if decided:
            rung = bracket.rungs[bracket.rungs.index(rung) + 1]
        rung.loss.pop(trial, None)
        self._gone.add(trial)
        rung.gone += 1
        self._decide(bracket, rung)

    def _restore(self, trial: int) -> None:
        """Count a trial that had ended and is retried or extended among those that are to come."""
        if trial in self._gone:
            self._gone.discard(trial)
            self._rung(trial).gone -= 1

    def _raise_budget(self, trials: int | None) -> None:
        """Let a last bracket that the budget had cut short fill up."""
        if trials is None:
            return
        self._trials = trials
        for key, bracket in self._brackets.items():
            if not bracket.rungs[0].order:
                bracket.rungs[0].members = self._members(key)

    def _members(self, key: int) -> int:
        """Return how many trials a bracket begins with."""
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
            number, _, places = self._kinds[kind]
            rungs = [_Rung(at) for at in places]
            rungs[0].members = self._members(key)
            self._brackets[key] = _Bracket(number, rungs)
        return self._brackets[key]

    def _rung(self, trial: int) -> _Rung:
        return self._bracket(trial).rungs[self._next.get(trial, 0)]

    def _verdict(self, bracket: _Bracket, rung: _Rung, order: list[int], trial: int, kept: int, action: Any) -> Verdict:
        kept = min(kept, len(order))
        place, needed = order.index(trial) + 1, self.value(rung.loss[order[kept - 1]])
        numbers = {"rung": rung.at, "bracket": bracket.number, "place": place, "of": len(order), "kept": kept}
        numbers |= {"value": self.value(rung.loss[trial]), "needed": needed}
        return Verdict(self.name, {**numbers, **rung.compared[trial].why}, action)


def brackets(grace: float, factor: int, horizon: float) -> list[tuple[int, int, list[float]]]:
    """Return each bracket's number, its trials and its rungs, the last of which is the end of the training.

    Rungs are rounded down to whole numbers if the first rung and the end are whole.
    """
    most = 0
    while grace * factor ** (most + 1) <= horizon * (1 + 1e-9):
        most += 1
    return [
        (
            number,
            math.ceil((most + 1) / (number + 1) * factor**number),
            [share_of(horizon, factor**rung, whole_numbers=isinstance(grace, int)) for rung in range(number, -1, -1)],
        )
        for number in range(most, -1, -1)
    ]


def share_of(horizon: float, factor: int, *, whole_numbers: bool = True) -> float:
    """Return a share of the end of a training; at least 1, and whole, where whole numbers make sense."""
    if whole_numbers and isinstance(horizon, int):
        return max(1, horizon // factor)
    return whole(float(f"{horizon / factor:.9g}"))


def _ordered(loss: dict[int, float]) -> list[int]:
    return sorted(loss, key=lambda trial: (loss[trial], trial))
