"""ASHA by promotion that checks its rungs: the share that continues is what control trials have shown to be needed."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.journal import Event
from orchestrator.policies.control_trials import WITNESSES, ControlTrials
from orchestrator.policies.rungs import WaitingRung, last_rung, rung_epochs
from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.policies.searcher import trial_limit
from orchestrator.safe_text import show
from orchestrator.spec import SchedulerOptions, SweepSpec

CONTROL_SHARE = 0.05
"""The share of all epochs for control trials."""
MOST_CONTROLS = 8
"""Controls that a sweep of eighty trials or more trains to the end."""
ENDLESS = 2**31
"""Epochs of a training whose end is unknown."""

Candidate = tuple[int, int, str]  # the rung where a trial waits, its number, and the kind of its promotion

_EXPLANATIONS = {
    "promising": "it continued as one of the best {kept}",
    "late": "it continued as one of the best {kept}, since the best controls came from places that far down",
    "unproven": "it continued because that epoch does not predict: of two controls the better one was ahead there in "
    "only {percent} % of the pairs",
    "control": "it continued as a control, whatever its value, to show whether that epoch predicts the end",
    "finalist": "it continued as the best of all, to see the end of its training",
}


class GuardedASHA(SchedulerOptions):
    """Sets trials aside at every rung, and continues the best share of them that control trials show to be needed.

    The share is ``1/reduction_factor`` where rungs predict, and grows to all where they do not.

    Example:
        ```python
        scheduler = orchestrator.GuardedASHA(grace_epochs=2)
        ```
    """

    name: Literal["guarded_asha"] = "guarded_asha"
    grace_epochs: int = Field(default=1, ge=1, description="Epochs at the first rung.", examples=[1])
    reduction_factor: int = Field(
        default=4, ge=2, description="Ratio from rung to rung, in epochs and in surviving trials.", examples=[4]
    )


class GuardedASHAScheduler(Scheduler[GuardedASHA]):
    """Asynchronous successive halving by promotion (Li et al. 2020), with control trials that set each rung's share.

    Rungs are at ``grace_epochs · reduction_factor^k`` epochs and at the end. At each a trial enters with its best loss
    since the rung before, so that a lucky first epoch does not carry it for good, and is set aside, unless it would be
    the next to continue. A free slot goes

    1. to a control, while controls have had less than a twentieth of the epochs (`ControlTrials`);
    2. to the best trial of the highest rung at which one waits that is among the share kept there;
    3. to a new trial. Once all have begun, to controls until a tenth of the trials (at least four, at most eight) have
       seen the end; and if nothing else runs, to the best trial of all, if it has not seen the end.

    The share kept at a rung is at least ``1/reduction_factor``. Among the controls at the furthest later rung that four
    have entered, the best ``1/reduction_factor`` must have been within the share. All continue if controls do not order
    themselves at the rung as they do later (`ControlTrials.share`). Without evidence it is ASHA's share: what waits can
    still continue when the evidence comes.

    Epochs are counted when they are granted, since several workers may ask before any of them reports.
    """

    def __init__(self, options: GuardedASHA, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        trials = trial_limit(spec)
        self._trials_left = math.inf if trials is None else trials
        self._epochs = rung_epochs(options.grace_epochs, options.reduction_factor, _max_epochs(spec) or ENDLESS)
        self._rungs = [WaitingRung() for _ in self._epochs]
        self._controls = ControlTrials(self._rungs, options.reduction_factor)
        self._controls_needed = max(WITNESSES, int(min(MOST_CONTROLS, self._trials_left / 10)))
        self._losses: dict[int, dict[int, float]] = {}  # trial -> epoch -> loss; kept: a trial may be extended
        self._rung_of: dict[int, int] = {}  # trial set aside -> its rung
        self._passed: dict[int, int] = {}  # trial -> the highest rung that it has left behind
        self._granted = Counter(control=0, other=0)
        self._best_ended: tuple[float, int] = (math.inf, -1)  # the best of those that ended without a failure

    @classmethod
    def rungs(cls, options: GuardedASHA, max_epochs: int) -> list[int]:
        """Return the rungs, the last of which is the end of the training."""
        return rung_epochs(options.grace_epochs, options.reduction_factor, max(options.grace_epochs, max_epochs))

    @classmethod
    def rung_reached(cls, options: GuardedASHA, epoch: int) -> int | None:
        """Return the last rung up to the epoch, the end of the training apart."""
        return last_rung(epoch, options.grace_epochs, options.reduction_factor)

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and how many continued from there."""
        trust = (
            "" if why["agreement"] is None else f"; later, {_percent(why)} % of the controls' pairs were in that order"
        )
        return (
            f"it was set aside at place {why['place']} of {why['of']} at epoch {why['rung']} "
            f"with {show(why['value'])}, and the best {why['kept']} continued{trust}"
        )

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and why it continued."""
        reason = _EXPLANATIONS[why["kind"]].format(kept=why["kept"], percent=_percent(why))
        return (
            f"Set aside after epoch {why['rung']} with {show(why['value'])}, "
            f"at place {why['place']} of {why['of']}; {reason}."
        )

    def observe(self, event: Event) -> None:
        """Take note of an event, and count the epochs that it grants."""
        super().observe(event)
        if event.type == "trial.suggested":
            self._trials_left -= 1
            self._granted["other"] += self._epochs[0]
            self._controls.begin(event["trial"])
        elif event.type == "trial.promoted":
            kind = "request" if event["rule"] == "request" else event["why"]["kind"]
            self._continue(self._rung_of[event["trial"]], event["trial"], kind)
        elif event.type in ("trial.stopped", "trial.finished", "trial.failed"):
            self._end(event["trial"], failed=event.type == "trial.failed")

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """Return the trial that continues before a new one begins."""
        candidate = self._next(last=last)
        if candidate is None:
            return None
        rung, trial, kind = candidate
        return trial, Verdict(self.name, {"kind": kind, **self._comparison(rung, trial)}, "promote")

    def dismiss(self, trial: int) -> Verdict:
        """Return the comparison at the rung where the trial waits."""
        return Verdict(self.name, self._comparison(self._rung_of[trial], trial))

    def on_report(self, trial: int, epoch: int) -> None:
        """Let the trial enter its rung, and wait there unless it is the next to continue."""
        rung = self._rung(epoch)
        if not math.isfinite(self.last[trial]):
            return
        losses = self._losses.setdefault(trial, {})
        losses[epoch] = self.objective.loss(self.last[trial])
        if rung is None or trial in self._rungs[rung].loss:
            return
        before = self._epochs[rung - 1] if rung > 0 else 0
        self._rungs[rung].enter(trial, min(loss for at, loss in losses.items() if before < at <= epoch), epoch)
        self._controls.enter(trial, rung)
        if rung == len(self._rungs) - 1:
            self._passed[trial] = rung
            return
        self._wait(trial, rung)
        candidate = self._next(last=False)
        if candidate is not None and candidate[1] == trial:  # it continues without a detour by its checkpoint
            self._continue(*candidate)
        else:
            self._leave(trial)

    def judge_report(self, trial: int, epoch: int) -> Verdict | None:
        """Set aside a trial that has entered a rung and has not passed it."""
        rung = self._rung(epoch)
        if rung is None or trial not in self._rungs[rung].loss or self._passed.get(trial, -1) >= rung:
            return None
        return Verdict(self.name, self._comparison(rung, trial), "set_aside")

    def on_set_aside(self, trial: int, epoch: int) -> None:
        """Let the trial wait at its rung."""
        rung = self._rung(epoch)
        assert rung is not None
        self._wait(trial, rung)

    def _rung(self, epoch: int) -> int | None:
        """Return the index of the last rung up to that epoch; None below the first."""
        index = bisect.bisect_right(self._epochs, epoch) - 1
        return None if index < 0 else index

    def _kept(self, index: int) -> int:
        """Return how many of those that have entered a rung continue."""
        return int(len(self._rungs[index].order) * self._controls.share(index) + 1e-9)

    def _comparison(self, index: int, trial: int) -> dict[str, Any]:
        rung, agreement = self._rungs[index], self._controls.agreement(index)
        return {
            "rung": self._epochs[index], "place": rung.place(trial), "of": len(rung.order),
            "kept": self._kept(index), "value": self.value(rung.loss[trial]),
            "agreement": None if agreement is None else round(agreement, 3),
        }  # fmt: skip

    def _next(self, *, last: bool) -> Candidate | None:
        """Return which trial continues, from where and as what; None if a new trial is to begin, or all may rest."""
        return self._due_control(last=last) or self._best_kept() or (self._finalist() if last else None)

    def _due_control(self, *, last: bool) -> Candidate | None:
        """Return the next control if controls have had less than their share, or are too few at the sweep's end."""
        for rung, number in self._controls.candidates():
            if self._rung_of.get(number) != rung:
                continue
            affordable = self._granted["control"] + self._chunk(rung) <= CONTROL_SHARE * self._granted.total()
            needed = (self._trials_left <= 0 or last) and number < self._controls_needed
            if needed or (affordable and self._controls.is_next(rung)):
                return rung, number, "control"
        return None

    def _best_kept(self) -> Candidate | None:
        """Return the best trial of the highest rung at which one is within the share that is kept."""
        for index in range(len(self._rungs) - 2, -1, -1):
            rung = self._rungs[index]
            trial = rung.best_waiting()
            if trial is not None and (place := rung.place(trial)) <= self._kept(index):
                if place <= len(rung.order) // self.options.reduction_factor:
                    return index, trial, "promising"
                return index, trial, "late" if self._controls.predicts(index) else "unproven"
        return None

    def _finalist(self) -> Candidate | None:
        """Return the best trial of all, if it waits."""
        loss, trial = min(((self.best[trial], trial) for trial in self._rung_of), default=(math.inf, -1))
        return (self._rung_of[trial], trial, "finalist") if trial >= 0 and (loss, trial) < self._best_ended else None

    def _continue(self, rung: int, trial: int, kind: str) -> None:
        self._leave(trial)
        self._passed[trial] = rung
        self._controls.advance(trial, rung + 1)
        if kind != "request":  # a promotion that a person requested is charged to no account
            self._granted["control" if kind == "control" else "other"] += self._chunk(rung)

    def _chunk(self, rung: int) -> int:
        """Return the epochs from one rung to the next."""
        return self._epochs[rung + 1] - self._epochs[rung]

    def _wait(self, trial: int, rung: int) -> None:
        self._rung_of[trial] = rung
        self._rungs[rung].wait(trial, control=False)

    def _leave(self, trial: int) -> None:
        """Let a trial wait no longer."""
        rung = self._rung_of.pop(trial, None)
        if rung is not None:
            self._rungs[rung].leave(trial)

    def _end(self, trial: int, *, failed: bool) -> None:
        self._leave(trial)
        self._controls.advance(trial, len(self._rungs))
        if trial in self.best and not failed:
            self._best_ended = min(self._best_ended, (self.best[trial], trial))


def _percent(why: Mapping[str, Any]) -> str:
    return "?" if why["agreement"] is None else f"{100 * why['agreement']:.0f}"


def _max_epochs(spec: SweepSpec) -> int | None:
    """Return how long every trial trains; None if something else ends it, or each trial has an end of its own."""
    written = None if "trainer.max_epochs" in spec.space else spec.trainer.get("max_epochs")
    return written if isinstance(written, int) and written > 0 else None
