"""Schedulers that set trials aside at rungs up to the end of the training, and continue some. For two plug-ins."""

from __future__ import annotations

import bisect
import math
from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import TypeVar

from orchestrator.journal import Event
from orchestrator.policies.rungs import GRACE, WaitingRung, grace_of, last_rung, rung_places
from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.policies.searcher import trial_limit
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span

ENDLESS = 2**31
"""The end of a training whose end is unknown, at least."""

Candidate = tuple[int, int, str]  # the rung where a trial waits, its number, and the kind of its promotion


class RungOptions(SchedulerOptions):
    """Where the rungs of such a scheduler are."""

    renamed: ClassVar[dict[str, str]] = {"grace_epochs": "grace"}
    grace: Span = Field(default=None, description=f"Progress at the first rung. {GRACE}", examples=[1])
    reduction_factor: int = Field(default=4, ge=2, description="Ratio from rung to rung, in progress.", examples=[4])


OptionsT = TypeVar("OptionsT", bound=RungOptions)


class PausingScheduler(Scheduler[OptionsT]):
    """Set every trial aside at each rung, unless it is the next to continue.

    Rungs are at ``grace · reduction_factor^k`` and at the end. At each a trial enters with its best loss
    since the rung before (see `Scheduler.loss_at`), so that a lucky first report does not carry it for good. A subclass
    says by `_next` which trial continues, and takes note of what happens.
    """

    def __init__(self, options: OptionsT, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        trials = trial_limit(spec)
        self._trials_left = math.inf if trials is None else trials
        grace = grace_of(options)
        self._places = rung_places(grace, options.reduction_factor, spec.horizon or max(ENDLESS, grace * 2**20))
        self._rungs = [WaitingRung() for _ in self._places]
        self._rung_of: dict[int, int] = {}  # trial set aside -> its rung
        self._passed: dict[int, int] = {}  # trial -> the highest rung that it has left behind
        self._best_ended: tuple[float, int] = (math.inf, -1)  # the best of those that ended without a failure

    @classmethod
    def rungs(cls, options: OptionsT, horizon: float) -> list[float]:
        """Return the rungs, the last of which is the end of the training."""
        grace = grace_of(options)
        return rung_places(grace, options.reduction_factor, max(grace, horizon))

    @classmethod
    def rung_reached(cls, options: OptionsT, progress: float) -> float | None:
        """Return the last rung up to that progress, the end of the training apart."""
        return last_rung(progress, grace_of(options), options.reduction_factor)

    @abstractmethod
    def _next(self, *, last: bool) -> Candidate | None:
        """Return which trial continues, from where and as what; None if a new trial is to begin, or all may rest."""

    def _on_suggested(self, trial: int) -> None:
        """Take note of a new trial."""

    def _on_entered(self, trial: int, rung: int) -> None:
        """Take note of a trial that has entered a rung."""

    def _on_continued(self, trial: int, rung: int, kind: str) -> None:
        """Take note of a trial that continues from a rung; ``kind`` is ``request`` if a person asked for it."""

    def _on_ended(self, event: Event) -> None:
        """Take note of a trial's end."""

    def _passes(self, rung: int) -> bool:
        """Return whether trials pass a rung, as they do the end, without being set aside."""
        return rung == len(self._rungs) - 1

    def _is_control(self, trial: int) -> bool:
        """Return whether a trial waits as a control."""
        return False

    def observe(self, event: Event) -> None:
        """Take note of an event, and count the progress that it grants."""
        super().observe(event)
        if event.type == "trial.suggested":
            self._trials_left -= 1
            self._on_suggested(event["trial"])
        elif event.type == "trial.promoted":
            kind = "request" if event["rule"] == "request" else event["why"]["kind"]
            self._continue(self._rung_of[event["trial"]], event["trial"], kind)
        elif event.type in ("trial.stopped", "trial.finished", "trial.failed"):
            self._end(event)

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

    def on_report(self, trial: int, progress: float) -> None:
        """Let the trial enter its rung, and wait there unless it is the next to continue."""
        rung = self._rung(progress)
        if not math.isfinite(self.last[trial]):
            return
        if rung is None or trial in self._rungs[rung].loss:
            return
        before = self._places[rung - 1] if rung > 0 else 0
        self._rungs[rung].enter(trial, self.loss_at(trial, self._places[rung], before), progress)
        self._on_entered(trial, rung)
        if self._passes(rung):
            self._passed[trial] = rung
            return
        self._wait(trial, rung)
        candidate = self._next(last=False)
        if candidate is not None and candidate[1] == trial:  # it continues without a detour by its checkpoint
            self._continue(*candidate)
        else:
            self._leave(trial)

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Set aside a trial that has entered a rung and has not passed it."""
        rung = self._rung(progress)
        if rung is None or trial not in self._rungs[rung].loss or self._passed.get(trial, -1) >= rung:
            return None
        return Verdict(self.name, self._comparison(rung, trial), "set_aside")

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait at its rung."""
        rung = self._rung(progress)
        assert rung is not None
        self._wait(trial, rung)

    def _rung(self, progress: float) -> int | None:
        """Return the index of the last rung up to that progress; None below the first."""
        index = bisect.bisect_right(self._places, progress) - 1
        return None if index < 0 else index

    def _comparison(self, index: int, trial: int) -> dict[str, Any]:
        """Return the numbers of a trial at a rung, for a verdict."""
        rung = self._rungs[index]
        numbers = {"rung": self._places[index], "place": rung.place(trial), "of": len(rung.order)}
        return {**numbers, "value": self.value(rung.loss[trial]), **rung.compared[trial].why}

    def _finalist(self) -> Candidate | None:
        """Return the best trial of all, if it waits."""
        loss, trial = min(((self.best[trial], trial) for trial in self._rung_of), default=(math.inf, -1))
        return (self._rung_of[trial], trial, "finalist") if trial >= 0 and (loss, trial) < self._best_ended else None

    def _chunk(self, rung: int) -> float:
        """Return the progress from one rung to the next."""
        return self._places[rung + 1] - self._places[rung]

    def _continue(self, rung: int, trial: int, kind: str) -> None:
        self._leave(trial)
        self._passed[trial] = rung
        self._on_continued(trial, rung, kind)

    def _wait(self, trial: int, rung: int) -> None:
        self._rung_of[trial] = rung
        self._rungs[rung].wait(trial, control=self._is_control(trial))

    def _leave(self, trial: int) -> None:
        """Let a trial wait no longer."""
        rung = self._rung_of.pop(trial, None)
        if rung is not None:
            self._rungs[rung].leave(trial)

    def _end(self, event: Event) -> None:
        trial = event["trial"]
        self._leave(trial)
        self._on_ended(event)
        if trial in self.best and event.type != "trial.failed":
            self._best_ended = min(self._best_ended, (self.best[trial], trial))
