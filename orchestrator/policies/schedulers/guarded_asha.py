"""ASHA by promotion that checks its rungs: the share that continues is what control trials have shown to be needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.journal import Event
from orchestrator.policies.control_trials import WITNESSES, ControlTrials
from orchestrator.policies.pausing import Candidate, PausingScheduler, RungOptions
from orchestrator.policies.scheduler import rung_text
from orchestrator.progress import percent
from orchestrator.safe_text import show
from orchestrator.spec import SweepSpec

CONTROL_SHARE = 0.05
"""The share of all progress for control trials."""
MOST_CONTROLS = 8
"""Controls that a sweep of eighty trials or more trains to the end."""
EARLY_CONTROLS, EARLY_SHARE = 32, 25
"""Controls that a large sweep trains as far as the last rung before the end: one of so many trials, and at most so
many."""
_EXPLANATIONS = {
    "promising": "it continued as {best}",
    "late": "it continued as {best}, since the best controls came from places that far down",
    "unproven": "it continued because that rung does not predict: of two controls the better one was ahead there in "
    "only {percent} of the pairs",
    "control": "it continued as a control, whatever its value, to show whether that rung predicts the end",
    "finalist": "it continued as the best of all, to see the end of its training",
}


class GuardedASHA(RungOptions):
    """Sets trials aside at every rung, and continues the best share of them that control trials show to be needed.

    The share is ``1/reduction_factor`` where rungs predict, and grows to all where they do not.

    Example:
        ```python
        scheduler = orchestrator.GuardedASHA(grace=2)
        ```
    """

    name: Literal["guarded_asha"] = "guarded_asha"
    reduction_factor: int = Field(
        default=4, ge=2, description="Ratio from rung to rung, in progress and in surviving trials.", examples=[4]
    )


class GuardedASHAScheduler(PausingScheduler[GuardedASHA]):
    """Asynchronous successive halving by promotion (Li et al. 2020), with control trials that set each rung's share.

    Rungs are at ``grace · reduction_factor^k`` and at the end. At each a trial enters with its best loss
    since the rung before, so that a lucky first epoch does not carry it for good, and is set aside, unless it would be
    the next to continue. A free slot goes

    1. to a control, while controls have had less than a twentieth of the progress (`ControlTrials`);
    2. to the best trial of the highest rung at which one waits that is among the share kept there;
    3. to a new trial. Once all have begun, to controls until a tenth of the trials (at least four, at most eight) have
       seen the end, and in a large sweep one of 25 (at most 32) the rung before it; and if nothing else runs, to the
       best trial of all, if it has not seen the end.

    The share kept at a rung is at least ``1/reduction_factor``. Among the controls at each later rung that four have
    entered, the best ``1/reduction_factor`` must have been within the share. All continue if controls do not order
    themselves at the rung as they do later (`ControlTrials.share`). Without evidence it is ASHA's share: what waits can
    still continue when the evidence comes.

    Epochs are counted when they are granted, since several workers may ask before any of them reports.
    """

    version = 3
    changes: ClassVar[Mapping[int, str]] = {
        2: "The share that continues holds the best controls at every later rung, and large sweeps train more of them",
        3: "Trials that end with the sweep are all compared with the share that decided that none of them continues",
    }

    def __init__(self, options: GuardedASHA, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._controls = ControlTrials(self._rungs, options.reduction_factor)
        self._controls_needed = max(WITNESSES, int(min(MOST_CONTROLS, self._trials_left / 10)))
        self._early_needed = max(self._controls_needed, int(min(EARLY_CONTROLS, self._trials_left / EARLY_SHARE)))
        self._granted: dict[str, float] = {"control": 0, "other": 0}
        self._dismissed: list[int] = []

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and how many continued from there."""
        trust = (
            "" if why["agreement"] is None else f"; later, {_percent(why)} of the controls' pairs were in that order"
        )
        return (
            f"it was set aside at place {why['place']} of {why['of']} at {rung_text(why)} "
            f"with {show(why['value'])}, and the best {why['kept']} continued{trust}"
        )

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say where the trial waited, and why it continued."""
        best = "the best" if why["kept"] == 1 else f"one of the best {why['kept']}"
        reason = _EXPLANATIONS[why["kind"]].format(best=best, percent=_percent(why))
        return (
            f"Set aside after {rung_text(why)} with {show(why['value'])}, "
            f"at place {why['place']} of {why['of']}; {reason}."
        )

    def _kept(self, index: int) -> int:
        """Return how many of those that have entered a rung continue."""
        return int(len(self._rungs[index].order) * self._controls.share(index) + 1e-9)

    def _comparison(self, index: int, trial: int) -> dict[str, Any]:
        agreement = self._controls.agreement(index)
        trust = {"kept": self._kept(index), "agreement": None if agreement is None else round(agreement, 3)}
        return {**super()._comparison(index, trial), **trust}

    def _next(self, *, last: bool) -> Candidate | None:
        return self._due_control(last=last) or self._best_kept() or (self._finalist() if last else None)

    def _due_control(self, *, last: bool) -> Candidate | None:
        """Return the next control if controls have had less than their share, or are too few at the sweep's end."""
        for rung, number in self._controls.candidates():
            if self._rung_of.get(number) != rung:
                continue
            affordable = self._granted["control"] + self._chunk(rung) <= CONTROL_SHARE * sum(self._granted.values())
            most = self._controls_needed if rung == len(self._rungs) - 2 else self._early_needed
            needed = (self._trials_left <= 0 or last) and number < most
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

    def _on_suggested(self, trial: int) -> None:
        for ended in self._dismissed:  # the sweep was extended
            self._controls.advance(ended, len(self._rungs))
        self._dismissed.clear()
        self._granted["other"] += self._places[0]
        self._controls.begin(trial)

    def _on_entered(self, trial: int, rung: int) -> None:
        self._controls.enter(trial, rung)

    def _on_continued(self, trial: int, rung: int, kind: str) -> None:
        self._controls.advance(trial, rung + 1)
        if kind != "request":  # a promotion that a person requested is charged to no account
            self._granted["control" if kind == "control" else "other"] += self._chunk(rung)

    def _on_ended(self, event: Event) -> None:
        is_dismissed = event.fields.get("rule") == self.name
        if is_dismissed:  # those that still wait are compared with the same share
            self._dismissed.append(event["trial"])
        else:
            self._controls.advance(event["trial"], len(self._rungs))


def _percent(why: Mapping[str, Any]) -> str:
    return "? %" if why["agreement"] is None else percent(why["agreement"])
