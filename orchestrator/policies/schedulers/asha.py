"""Asynchronous successive halving (ASHA), by stopping and by promotion."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.journal import Event
from orchestrator.policies.rungs import GRACE, Rung, grace_of, last_rung, rung_places
from orchestrator.policies.scheduler import Scheduler, Verdict, placed_text, rung_text
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span


class ASHA(SchedulerOptions):
    """Asynchronous successive halving: at each rung only the best 1/reduction_factor of the trials continue.

    Example:
        ```python
        scheduler = orchestrator.ASHA(grace=3, reduction_factor=3)
        ```
    """

    name: Literal["asha"] = "asha"
    renamed: ClassVar[dict[str, str]] = {"grace_epochs": "grace"}
    grace: Span = Field(
        default=None, description=f"Progress that every trial gets: the first rung. {GRACE}", examples=[1]
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="Ratio from rung to rung, in progress and in surviving trials.", examples=[3]
    )
    promote: bool = Field(
        default=False,
        description="Whether a trial that is not among the best is set aside, to be promoted from its checkpoint once "
        "it is, rather than stopped.",
        examples=[True],
    )


class ASHAScheduler(Scheduler[ASHA]):
    """Asynchronous successive halving, the stopping kind (Li et al. 2020, arXiv:1810.05934).

    Rungs are at ``grace · reduction_factor^k``. A trial passes one at its first report at or beyond it, and enters the
    last that it has passed with its best loss up to the rung (see `Scheduler.loss_at`). It continues if it is among the
    best ``1/reduction_factor`` of those that have entered, of which there is at least one. Ties go to the lower trial
    number.
    """

    exact = True

    def __init__(self, options: ASHA, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._rungs: dict[float, Rung] = {}

    @classmethod
    def build(cls, options: ASHA, spec: SweepSpec) -> Scheduler[ASHA]:
        """Return the stopping or the promoting kind."""
        return PromotionASHA(options, spec) if options.promote else cls(options, spec)

    @classmethod
    def label(cls, options: ASHA) -> str:
        """Return the name, and the kind if it is the promoting one."""
        return "asha (promote)" if options.promote else "asha"

    @classmethod
    def rungs(cls, options: ASHA, horizon: float) -> list[float]:
        """Return the rungs up to the end of the training."""
        rungs = rung_places(grace_of(options), options.reduction_factor, horizon)
        return rungs if last_rung(horizon, grace_of(options), options.reduction_factor) == rungs[-1] else rungs[:-1]

    @classmethod
    def rung_reached(cls, options: ASHA, progress: float) -> float | None:
        """Return the last rung up to that progress."""
        return last_rung(progress, grace_of(options), options.reduction_factor)

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say how many trials were compared, which place this one took, and what was needed."""
        return (
            f"ASHA compared {why['of']} trials at {rung_text(why)} and kept the best {why['kept']}; {placed_text(why)}"
        )

    def rung(self, progress: float) -> float | None:
        """Return the last rung up to that progress; None below the first."""
        return last_rung(progress, grace_of(self.options), self.options.reduction_factor)

    def on_report(self, trial: int, progress: float) -> None:
        """Let the trial enter its rung."""
        rung = self.rung(progress)
        if rung and trial in self.best:
            self._rungs.setdefault(rung, Rung()).enter(trial, self.loss_at(trial, rung), progress)

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Stop a trial that has just entered a rung and is not among its best."""
        at = self.rung(progress)
        rung = self._rungs.get(at or 0)
        if at is None or rung is None or rung.entered.get(trial) != progress or rung.place(trial) <= self._kept(rung):
            return None
        return Verdict(self.name, self._comparison(trial, at, self._kept(rung)))

    def _kept(self, rung: Rung) -> int:
        return max(1, len(rung.order) // self.options.reduction_factor)

    def _comparison(self, trial: int, progress: float, kept: int) -> dict[str, Any]:
        """Return the numbers of a comparison; ``needed`` is the value of the last one kept, None if none is."""
        rung = self._rungs[progress]
        numbers = {"rung": progress, "place": rung.place(trial), "of": len(rung.order), "kept": kept}
        needed = self.value(rung.order[kept - 1][0]) if kept else None
        return {**numbers, "value": self.value(rung.loss[trial]), "needed": needed, **rung.compared[trial].why}


class PromotionASHA(ASHAScheduler):
    """Asynchronous successive halving as it was published: a trial waits at each rung until it is promoted.

    At a rung a trial continues at once if it is among the best ``1/reduction_factor`` of those that have entered, else
    it is set aside. A free slot goes first to the best trial of the highest rung that has since joined them. If nothing
    else is left to run, the best of each rung continues, so that one trains to its end.
    """

    def __init__(self, options: ASHA, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._waiting: dict[float, list[tuple[float, int]]] = {}
        self._rung_of: dict[int, float] = {}  # trial set aside -> its rung
        self._promoted_from: dict[int, float] = {}  # trial -> the last rung that it was promoted from
        self._reached: dict[int, float] = {}

    def rung(self, progress: float) -> float | None:
        """Return the last rung up to that progress; None at the end of the training, where no trial waits."""
        return None if self.is_at_end(progress) else super().rung(progress)

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """Return the best trial of the highest rung at which one is among the best."""
        for progress in sorted(self._waiting, reverse=True):
            waiting, rung = self._waiting[progress], self._rungs[progress]
            while waiting and self._rung_of.get(waiting[0][1]) != progress:
                heapq.heappop(waiting)
            kept = max(self._kept(rung), int(last))
            if waiting and rung.place(trial := waiting[0][1]) <= kept:
                return trial, Verdict(self.name, self._comparison(trial, progress, kept), "promote")
        return None

    def dismiss(self, trial: int) -> Verdict:
        """Return the comparison at the rung where the trial waits."""
        progress = self._rung_of[trial]
        return Verdict(self.name, self._comparison(trial, progress, max(1, self._kept(self._rungs[progress]))))

    def observe(self, event: Event) -> None:
        """Take note of an event, promotions among them."""
        super().observe(event)
        if event.type in ("trial.promoted", "trial.stopped"):
            rung = self._rung_of.pop(event["trial"], None)
            if rung is not None and event.type == "trial.promoted":
                self._promoted_from[event["trial"]] = rung

    def on_report(self, trial: int, progress: float) -> None:
        """Let the trial enter its rung, and note how far it is."""
        super().on_report(trial, progress)
        self._reached[trial] = max(progress, self._reached.get(trial, 0))

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Set aside a trial that has just entered a rung and is not among its best."""
        at = self.rung(progress)
        if self._reached[trial] > progress or self._promoted_from.get(trial, 0) >= (at or math.inf):
            return None  # it passed this rung before, and repeats the report because a checkpoint was missing
        verdict = super().judge_report(trial, progress)
        return verdict and replace(verdict, action="set_aside")

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait at its rung."""
        rung = self.rung(progress)
        assert rung
        self._rung_of[trial] = rung
        heapq.heappush(self._waiting.setdefault(rung, []), (self._rungs[rung].loss[trial], trial))

    def _kept(self, rung: Rung) -> int:
        return len(rung.order) // self.options.reduction_factor
