"""The frontier of earlier versions, for their journals: replaced by `guarded_asha`, which finds slow starters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.journal import Event
from orchestrator.policies.pausing import Candidate, PausingScheduler, RungOptions
from orchestrator.policies.rungs import REMEMBERED, WaitingRung, concordance
from orchestrator.policies.scheduler import rung_text
from orchestrator.safe_text import show
from orchestrator.spec import SweepSpec

DEEP_SHARE = 0.6
"""The share of epochs for the most promising trials; the rest is for new ones."""
CONTROL_SHARE = 0.05
POWER = 0.75
"""How much more a longer distance to the next rung costs a trial."""
WITNESSES = 4
"""Trials that must have passed a rung and reached a later one before that rung is judged."""
MOST_CONTROLS = 8
"""Controls that a sweep of a hundred trials or more is given at its end."""
_EXPLANATIONS = {
    "promising": "it continued as the most promising of those set aside",
    "control": "it continued as a control, whatever its value, to show whether that rung predicts the end",
    "grace": "it continued because that rung was not seen to predict the end",
    "finalist": "it continued as the best of all, to see the end of its training",
}
_ACCOUNTS = {"promising": "deep", "finalist": "deep", "control": "control", "grace": "new"}


class Frontier(RungOptions):
    """Sets trials aside at every rung, and spends half of the epochs on the most promising and half on new ones.

    A rung is acted on only as far as it is seen to predict the end of the training.

    Example:
        ```python
        scheduler = orchestrator.Frontier(grace=2)
        ```
    """

    name: Literal["frontier"] = "frontier"


class FrontierScheduler(PausingScheduler[Frontier]):
    """Choose between new trials and those set aside by the share of epochs that each kind has had.

    Rungs are at ``grace · reduction_factor^k`` and at the end. At each a trial enters with its best loss
    since the rung before, so that a lucky first epoch does not carry it for good, and is set aside, unless it would be
    the next to continue. A free slot goes

    1. to a control, while controls have had less than a twentieth of the progress: trial 0, then trial 1 and so on,
       each to its end, whatever its loss. They show whether rungs can be trusted;
    2. to the most promising trial, while these have had less than three fifths of what they and new ones have had: the
       least ``place · next_rung ^ 0.75``, a trial's place being its place among all that have ever entered the rung,
       and in the better half of them. (With exponent 1 it is the order in which asynchronous successive halving
       promotes, Li et al. 2020, but the share of the epochs, not the number of trials, sets the pace; a smaller
       exponent goes deeper sooner.);
    3. to a new trial. Once all have begun, to controls until a tenth of the trials (at least four, at most eight) are
       controls; then to the most promising if successive halving would promote it; and if nothing else runs, to the
       best trial of all, if it has not seen the end.

    A rung is acted on only if it is seen to predict: take the latest trials that continued from it to the furthest rung
    where at least four are. Of any two of these, the one that is ahead there must have been ahead here, more often than
    in half of all pairs by more than chance's standard error (Kendall 1938). If four controls are among them, these
    alone are counted, since the others are there only because of their place at this rung. Below the first rung that
    passes, no trial is set aside, and those that wait there continue: where early losses say nothing or mislead, the
    grace period grows, at last to the complete training. A rung without evidence is passed, too, as far as the next;
    and so is one whose evidence is unclear, while there is none about the next.

    Epochs are counted when they are granted, since several workers may ask before any of them reports.
    """

    offered = False

    def __init__(self, options: Frontier, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._controls: set[int] = set()  # on their way to the end
        self._next_control = 0  # all trials before it are controls, or have ended
        self._controls_needed = max(WITNESSES, int(min(MOST_CONTROLS, self._trials_left / 10)))
        self._granted: dict[str, float] = {"new": 0, "deep": 0, "control": 0}
        self._controls_finished = 0
        self._finished: dict[int, bool] = {}  # trials that ended, and whether they saw the end
        self._lowest, self._grace = self._trusted()

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and that others were more promising."""
        return (
            f"it was set aside at place {why['place']} of {why['of']} at {rung_text(why)} "
            f"with {show(why['value'])}, and others were more promising until the end"
        )

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and as which kind it continued."""
        place = f"at place {why['place']} of {why['of']}"
        return f"Set aside after {rung_text(why)} with {show(why['value'])}, {place}; {_EXPLANATIONS[why['kind']]}."

    def agreement(self, rung: int) -> tuple[float, float] | None:
        """Return in what share of pairs the one ahead later was ahead at this rung, and chance's standard error.

        None if too few trials have continued from it.
        """
        entered = self._rungs[rung].loss
        for later in [each for each in reversed(self._rungs[rung + 1 :]) if len(each.loss) >= WITNESSES]:
            for witnesses in (self._controls_at(later), later.latest):
                losses = [entered[trial] for _, trial in sorted(witnesses) if trial in entered]
                if len(losses) >= WITNESSES:
                    return concordance(losses)
        return None

    def _controls_at(self, rung: WaitingRung) -> list[tuple[float, int]]:
        numbers = range(self._next_control - 1, max(-1, self._next_control - 1 - REMEMBERED), -1)
        return [(rung.loss[number], number) for number in numbers if number in rung.loss]

    def _next(self, *, last: bool) -> Candidate | None:
        control = self._control()
        if control is not None and self._is_due(control, last=last):
            return control
        promising = self._most_promising()
        if promising and self._granted["deep"] < DEEP_SHARE * (self._granted["deep"] + self._granted["new"]):
            return promising
        for rung in range(self._grace):
            if self._rungs[rung].waiting:
                return rung, next(iter(self._rungs[rung].waiting)), "grace"
        if promising and (self._trials_left <= 0 or last) and self._is_among_the_best(promising):
            return promising
        return self._finalist() if last else None

    def _control(self) -> Candidate | None:
        """Return a control that waits, or else the trial that is to be the next one."""
        for index, rung in enumerate(self._rungs):
            if rung.controls:
                return index, next(iter(rung.controls)), "control"
        number = self._next_control
        return (self._rung_of[number], number, "control") if number in self._rung_of else None

    def _is_due(self, control: Candidate, *, last: bool) -> bool:
        """Return whether controls have had less than their share, or are too few now that all trials have begun."""
        if self._granted["control"] + self._chunk(control[0]) <= CONTROL_SHARE * sum(self._granted.values()):
            return True
        controls = len(self._controls) - (control[1] in self._controls) + self._controls_finished
        return (self._trials_left <= 0 or last) and controls < self._controls_needed

    def _most_promising(self) -> Candidate | None:
        candidate, least = None, math.inf
        for index in range(self._grace, len(self._rungs) - 1):
            rung = self._rungs[index]
            trial = rung.best_waiting()
            if trial is not None and 2 * (place := rung.place(trial)) <= len(rung.order) + 1:
                price = place * self._places[index + 1] ** POWER
                if price < least:
                    candidate, least = (index, trial, "promising"), price
        return candidate

    def _is_among_the_best(self, candidate: Candidate) -> bool:
        rung = self._rungs[candidate[0]]
        return rung.place(candidate[1]) <= len(rung.order) // self.options.reduction_factor

    def _on_suggested(self, trial: int) -> None:
        self._granted["new"] += self._places[self._lowest]
        self._granted["deep"] += self._places[self._grace] - self._places[self._lowest]

    def _on_entered(self, trial: int, rung: int) -> None:
        if rung > 0:  # it is evidence about the rungs below
            self._lowest, self._grace = self._trusted()

    def _passes(self, rung: int) -> bool:
        return rung < self._grace or super()._passes(rung)

    def _is_control(self, trial: int) -> bool:
        return trial in self._controls

    def _on_continued(self, trial: int, rung: int, kind: str) -> None:
        if kind == "control":
            self._controls.add(trial)
            self._pass_controls()
        if kind in _ACCOUNTS:  # a promotion that a person requested is charged to no account
            self._granted[_ACCOUNTS[kind]] += self._chunk(rung)

    def _on_ended(self, event: Event) -> None:
        trial = event["trial"]
        self._controls.discard(trial)
        finished = self._finished[trial] = event.type == "trial.finished"
        self._controls_finished += finished and trial < self._next_control
        self._pass_controls()

    def _pass_controls(self) -> None:
        """Advance to the first trial that is no control and has not ended."""
        before = self._next_control
        while self._next_control in self._controls or self._next_control in self._finished:
            self._controls_finished += self._finished.get(self._next_control, False)
            self._next_control += 1
        if self._next_control > before:  # there may be more evidence
            self._lowest, self._grace = self._trusted()

    def _trusted(self) -> tuple[int, int]:
        """Return the lowest rung not seen to mislead, and the lowest at which trials are set aside.

        The latter is one more if the evidence is unclear or missing.
        """
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
