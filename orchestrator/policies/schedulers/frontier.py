"""A frontier of trials that were set aside: the most promising go on, as far as rungs are seen to predict the end."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.policies.schedulers.rungs import REMEMBERED, WaitingRung, concordance, rung_epochs
from orchestrator.state import Objective

DEEP_SHARE = 0.6
"""Of the epochs, those that go to the most promising trials; the others begin new ones."""
CONTROL_SHARE = 0.05
POWER = 0.75
"""How much dearer a longer way to the next rung makes a trial."""
WITNESSES = 4
"""Trials that must have passed a rung and reached a later one before that rung is judged."""
MOST_CONTROLS = 8
"""Controls that a sweep of a hundred trials or more is given at its end."""
ENDLESS = 2**31
"""Epochs of a training whose end nobody knows."""

Place = tuple[int, int, str]  # the rung where a trial waits, its number, and as what it is to go on


class Frontier(Scheduler):
    """Decides between new trials and those set aside by the share of epochs that each kind has had.

    Rungs are at ``grace_epochs · reduction_factor^k`` epochs and at the end. At each a trial enters with its best loss
    since the rung before, so that a lucky first epoch does not carry it on for good, and is set aside, unless it would
    be the one to go on. A slot that becomes free goes

    1. to a control, as long as controls have had less than a twentieth of the epochs: trial 0, then trial 1 and so on,
       each to its end, whatever its loss. They show whether rungs can be trusted;
    2. to the most promising trial, as long as these have had less than three fifths of what they and new ones have had:
       the least ``place · next_rung ^ 0.75``, a trial's place being its place among all that have ever entered the
       rung, and in the better half of them. (With exponent 1 it is the order in which asynchronous successive halving
       would promote, Li et al. 2020, but it is the share of the epochs, not the number of trials, that sets the pace;
       less goes deeper sooner.);
    3. to a new trial. Once all have begun, to controls until a tenth of the trials (at least four, at most eight) are
       such; then to the most promising as long as successive halving would promote it; and when nothing else runs to
       the best trial of all, if it has not seen the end.

    A rung is acted on only when it is seen to predict: of any two of the latest trials that went on from it to the
    furthest rung where at least four are, the one that is ahead there must have been ahead here, more often than in
    half of all pairs by more than chance's standard error (Kendall 1938). Where four controls are among them these
    alone are asked, since the others would not be there but for their place at this rung. Below the first rung that
    passes nobody is set aside, and who waits there goes on: where early losses say nothing or mislead, the grace
    period grows, at last to the whole training. A rung of which nothing is known yet is passed too, as far as the
    next; and so is one of which nothing is clear, while nothing is known of the next.

    Epochs are counted when they are granted, since several workers may ask before any reports.
    """

    name = "frontier"

    def __init__(
        self,
        objective: Objective,
        grace_epochs: int,
        reduction_factor: int,
        max_epochs: int | None,
        trials: float = math.inf,
    ) -> None:
        super().__init__(objective)
        self._factor, self._left = reduction_factor, trials
        self._epochs = rung_epochs(grace_epochs, reduction_factor, max_epochs or ENDLESS)
        self._rungs = [WaitingRung() for _ in self._epochs]
        self._told: dict[int, dict[int, float]] = {}  # trial -> epoch -> loss; one that has ended may be brought back
        self._at: dict[int, int] = {}  # trial set aside -> its rung
        self._passed: dict[int, int] = {}  # trial -> the highest rung that it has left behind
        self._controls: set[int] = set()  # on their way to the end
        self._next_control = 0  # all before it are controls, or have ended
        self._wanted = max(WITNESSES, int(min(MOST_CONTROLS, trials / 10)))
        self._spent = Counter(new=0, deep=0, control=0)
        self._controls_over = 0  # those that have seen the end
        self._over: dict[int, bool] = {}  # trials that ended, and whether they saw the end
        self._ended: tuple[float, int] = (math.inf, -1)  # the best of those that ended without a failure
        self._lowest, self._grace = self._trusted()

    def observe(self, event: Event) -> None:
        super().observe(event)
        if event.type == "trial.suggested":
            self._left -= 1
            self._spent["new"] += self._epochs[self._lowest]
            self._spent["deep"] += self._epochs[self._grace] - self._epochs[self._lowest]
        elif event.type == "trial.promoted":
            kind = "request" if event["rule"] == "request" else event["why"]["kind"]
            self._go_on(self._at[event["trial"]], event["trial"], kind)
        elif event.type in ("trial.stopped", "trial.finished", "trial.failed"):
            self._end(event["trial"], event.type)

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        found = self._next(last=last)
        if found is None:
            return None
        rung, trial, kind = found
        return trial, Verdict(self.name, {"kind": kind, **self._compared(rung, trial)}, "promote")

    def dismiss(self, trial: int) -> Verdict:
        return Verdict(self.name, self._compared(self._at[trial], trial))

    def agreement(self, rung: int) -> tuple[float, float] | None:
        """In what share of pairs the one that is ahead later was ahead at this rung; and the standard error of chance.

        None where too few have gone on from it.
        """
        entered = self._rungs[rung].loss
        for later in [there for there in reversed(self._rungs[rung + 1 :]) if len(there.loss) >= WITNESSES]:
            for witnesses in (self._controls_at(later), later.latest):
                losses = [entered[trial] for _, trial in sorted(witnesses) if trial in entered]
                if len(losses) >= WITNESSES:
                    return concordance(losses)
        return None

    def _controls_at(self, rung: WaitingRung) -> list[tuple[float, int]]:
        numbers = range(self._next_control - 1, max(-1, self._next_control - 1 - REMEMBERED), -1)
        return [(rung.loss[number], number) for number in numbers if number in rung.loss]

    def _reported(self, trial: int, epoch: int) -> None:
        rung = self._rung(epoch)
        if not math.isfinite(self._last[trial]):
            return
        told = self._told.setdefault(trial, {})
        told[epoch] = self._objective.loss(self._last[trial])
        if rung is None or trial in self._rungs[rung].loss:
            return
        before = self._epochs[rung - 1] if rung > 0 else 0
        since = min(loss for at, loss in told.items() if before < at <= epoch)
        self._rungs[rung].enter(trial, since, epoch)
        if rung > 0:  # it bears witness on the rungs below
            self._lowest, self._grace = self._trusted()
        if rung < self._grace or rung == len(self._rungs) - 1:
            self._passed[trial] = rung
            return
        self._wait(trial, rung)
        found = self._next(last=False)
        if found is not None and found[1] == trial:  # without the way through a checkpoint
            self._go_on(*found)
        else:
            self._leave(trial)

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        rung = self._rung(epoch)
        if rung is None or trial not in self._rungs[rung].loss or self._passed.get(trial, -1) >= rung:
            return None
        return Verdict(self.name, self._compared(rung, trial), "set_aside")

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        rung = self._rung(epoch)
        assert rung is not None
        self._wait(trial, rung)

    def _rung(self, epoch: int) -> int | None:
        """The last rung up to that epoch; None below the first."""
        found = bisect.bisect_right(self._epochs, epoch) - 1
        return None if found < 0 else found

    def _compared(self, rung: int, trial: int) -> dict[str, Any]:
        there, sign = self._rungs[rung], -1 if self._objective.mode == "max" else 1
        numbers = {"rung": self._epochs[rung], "place": there.place(trial), "of": len(there.order)}
        return {**numbers, "value": sign * there.loss[trial]}

    def _next(self, *, last: bool) -> Place | None:
        """Who is to go on from where, and as what; None where a new trial is to begin, or all may rest."""
        found = self._control()
        if found is not None and self._is_due(found, last=last):
            return found
        promising = self._most_promising()
        if promising and self._spent["deep"] < DEEP_SHARE * (self._spent["deep"] + self._spent["new"]):
            return promising
        for rung in range(self._grace):
            if self._rungs[rung].waiting:
                return rung, next(iter(self._rungs[rung].waiting)), "grace"
        if promising and (self._left <= 0 or last) and self._is_among_the_best(promising):
            return promising
        return self._finalist() if last else None

    def _control(self) -> Place | None:
        """A control that waits, or else the trial that is to be the next."""
        for rung, there in enumerate(self._rungs):
            if there.controls:
                return rung, next(iter(there.controls)), "control"
        number = self._next_control
        return (self._at[number], number, "control") if number in self._at else None

    def _is_due(self, control: Place, *, last: bool) -> bool:
        """Whether controls have had less than their share, or are too few now that all trials have begun."""
        if self._spent["control"] + self._chunk(control[0]) <= CONTROL_SHARE * self._spent.total():
            return True
        known = len(self._controls) - (control[1] in self._controls) + self._controls_over
        return (self._left <= 0 or last) and known < self._wanted

    def _most_promising(self) -> Place | None:
        found, least = None, math.inf
        for rung in range(self._grace, len(self._rungs) - 1):
            there = self._rungs[rung]
            trial = there.first()
            if trial is not None and 2 * (place := there.place(trial)) <= len(there.order) + 1:
                price = place * self._epochs[rung + 1] ** POWER
                if price < least:
                    found, least = (rung, trial, "promising"), price
        return found

    def _is_among_the_best(self, found: Place) -> bool:
        there = self._rungs[found[0]]
        return there.place(found[1]) <= len(there.order) // self._factor

    def _finalist(self) -> Place | None:
        """The best trial of all, if it waits."""
        loss, trial = min(((self._best[trial], trial) for trial in self._at), default=(math.inf, -1))
        return (self._at[trial], trial, "finalist") if trial >= 0 and (loss, trial) < self._ended else None

    def _go_on(self, rung: int, trial: int, kind: str) -> None:
        self._leave(trial)
        self._passed[trial] = rung
        if kind == "control":
            self._controls.add(trial)
            self._pass_controls()
        if kind in _ACCOUNT:  # what somebody asks for takes nothing from the shares of the others
            self._spent[_ACCOUNT[kind]] += self._chunk(rung)

    def _chunk(self, rung: int) -> int:
        """Epochs from one rung to the next."""
        return self._epochs[rung + 1] - self._epochs[rung]

    def _wait(self, trial: int, rung: int) -> None:
        self._at[trial] = rung
        self._rungs[rung].wait(trial, control=trial in self._controls)

    def _leave(self, trial: int) -> None:
        """It waits no longer."""
        rung = self._at.pop(trial, None)
        if rung is not None:
            self._rungs[rung].leave(trial)

    def _end(self, trial: int, type: str) -> None:
        self._leave(trial)
        self._controls.discard(trial)
        finished = self._over[trial] = type == "trial.finished"
        self._controls_over += finished and trial < self._next_control
        self._pass_controls()
        if trial in self._best and type != "trial.failed":
            self._ended = min(self._ended, (self._best[trial], trial))

    def _pass_controls(self) -> None:
        """On to the first trial that is no control and has not ended."""
        before = self._next_control
        while self._next_control in self._controls or self._next_control in self._over:
            self._controls_over += self._over.get(self._next_control, False)
            self._next_control += 1
        if self._next_control > before:  # there may be more evidence
            self._lowest, self._grace = self._trusted()

    def _trusted(self) -> tuple[int, int]:
        """The lowest rung not seen to mislead, and the lowest at which trials are set aside: one more if unclear."""
        for rung in range(len(self._rungs) - 1):
            agreement = self.agreement(rung)
            if agreement is None:
                return rung, rung + 1
            share, error = agreement
            if share > 0.5 + error:
                return rung, rung
            if share > 0.5 - error and self.agreement(rung + 1) is None:
                return rung, rung + 1
        return len(self._rungs) - 1, len(self._rungs) - 1


_ACCOUNT = {"promising": "deep", "finalist": "deep", "control": "control", "grace": "new"}
