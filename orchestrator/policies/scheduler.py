"""The base class of schedulers: after each report a trial continues, stops or is set aside.

A scheduler is two classes in one file: its options, which a sweep file or Python writes, and the scheduler, which the
registry finds (see `orchestrator.registry`). ``Scheduler[Threshold]`` ties them: it sets the class attributes
``Options`` and ``name``::

    class Threshold(SchedulerOptions):
        '''Stops a trial that has not come below `bound` after `epochs` epochs.'''

        name: Literal["threshold"] = "threshold"
        bound: float = Field(description="The loss to reach.", examples=[0.5])
        epochs: int = Field(default=3, ge=1, description="Epochs until then.", examples=[3])


    class ThresholdScheduler(Scheduler[Threshold]):
        '''Compares each trial with the bound, once.'''

        def judge_report(self, trial: int, progress: float) -> Verdict | None:
            if progress != self.options.epochs or self.best[trial] <= self.options.bound:
                return None
            return Verdict(self.name, {"rung": progress, "value": self.value(self.best[trial])})

In Python: ``Sweep(..., scheduler=Threshold(bound=0.5))``; in a file: ``scheduler: {name: threshold, bound: 0.5}``.

A scheduler must be a pure function of the events that `observe` receives, of its options and of the spec: no clock, no
global random state, no file. Then a resumed sweep, which replays the journal, decides as the unbroken one does.
Everything in a Verdict must be plain JSON values, since the journal holds it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, cast

from typing_extensions import TypeVar

from orchestrator import registry
from orchestrator.journal import Event
from orchestrator.policies.loss_curves import Compared, LossCurve
from orchestrator.policies.plugin import PolicyPlugin, recorded_plugin
from orchestrator.progress import EPOCHS, place
from orchestrator.safe_text import show, show_apart
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import trainer_limit
from orchestrator.state import Objective

_PLACE = frozenset({"rule", "epoch", "progress", "unit"})
"""Keys of a recorded verdict that are not among the numbers compared."""
_SINGLE_REPORTS = 3
"""The ``suggestion_rules`` of ``sweep.created`` from which on a first report may be the only one."""
OptionsT = TypeVar("OptionsT", bound=SchedulerOptions, default=Any)


@dataclass(frozen=True)
class Verdict:
    """The outcome for a trial, and why.

    A promotion may come with another trial's checkpoint (``donor``) and then with changed ``params``.

    Attributes:
        rule: the scheduler's name, or the name of another rule.
        why: the numbers that were compared, plain JSON values. ``rung`` is the progress of the comparison.
        action: ``stop`` ends the trial; ``set_aside`` keeps it and its checkpoint for a later promotion; ``promote``
            continues a trial that was set aside.
        donor: number and progress of the trial whose checkpoint is to be used.
        params: the parameters from then on.

    Example:
        ```python
        verdict = orchestrator.Verdict("threshold", {"rung": 3, "value": 0.9, "bound": 0.5})
        ```
    """

    rule: str
    why: Mapping[str, Any] = field(default_factory=dict)
    action: Literal["stop", "set_aside", "promote"] = "stop"
    donor: tuple[int, float] | None = None
    params: dict[str, Any] | None = None


class Scheduler(PolicyPlugin[OptionsT], Generic[OptionsT]):
    """Judge reports. A subclass must define `judge_report`, and may define any other method below.

    Attributes:
        objective: what trials are judged by; ``objective.loss(value)`` turns the sign so that lower is better.
        last: trial number to the objective's value in its last report.
        best: trial number to its lowest finite loss so far; without an entry before the first finite one.
        curves: trial number to its finite losses by progress.
        unit: of progress: ``epochs``, ``steps``, ``samples``, ``seconds`` or ``metric:NAME``.
        horizon: where every trial ends, in that unit; None if it is not known.
        set_aside: numbers of the trials that wait for a promotion.

    Example:
        ```python
        from typing import Literal

        class Threshold(orchestrator.SchedulerOptions):
            name: Literal["threshold"] = "threshold"
            bound: float = 0.5

        class ThresholdScheduler(orchestrator.Scheduler[Threshold]):
            def judge_report(self, trial: int, progress: float) -> orchestrator.Verdict | None:
                good = self.best[trial] <= self.options.bound
                return None if good else orchestrator.Verdict(self.name, {"value": self.value(self.best[trial])})
        ```
    """

    options_base = SchedulerOptions
    population: ClassVar[bool] = False
    """Whether the budget's trials train side by side as one population, so that none can be added later."""
    forecasts: ClassVar[bool] = True
    """Whether a view may let it decide on curves that are only drawn, to estimate the time that is left."""
    divides_epochs: ClassVar[bool] = False
    """Whether the length of a trial is divided among rungs at the start, so that it cannot be raised later."""

    def __init__(self, options: OptionsT, spec: SweepSpec) -> None:
        self.options = options
        self.objective = Objective(spec.objective.metric, spec.objective.mode)
        self.unit, self.horizon, self._interpolates = spec.progress.unit, spec.horizon, spec.progress.interpolate
        self.last: dict[int, float] = {}
        self.curves: dict[int, LossCurve] = {}
        self._reported: dict[int, float] = {}  # trial -> the last report with the objective
        self._may_report_once = False
        self.best: dict[int, float] = {}
        self.set_aside: set[int] = set()

    @classmethod
    def build(cls, options: OptionsT, spec: SweepSpec) -> Scheduler[OptionsT]:
        """Return a scheduler that has observed nothing yet."""
        return cls(options, spec)

    @classmethod
    def rungs(cls, options: OptionsT, horizon: float) -> list[float]:
        """Return the rungs of trials that train until ``horizon``, in order; empty if there are no fixed ones."""
        return []

    @classmethod
    def rung_reached(cls, options: OptionsT, progress: float) -> float | None:
        """Return the last rung of a trial that has come so far; None if there is none, or it depends on more."""
        return None

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say in words why a trial was stopped, as the end of a sentence.

        Args:
            why: the verdict's numbers, with its ``rule``, the ``progress`` of the stop and the ``unit``.
        """
        numbers = ", ".join(f"{key} {show(value)}" for key, value in why.items() if key not in _PLACE)
        return f"scheduler {why['rule']} stopped it" + (f" ({numbers})" if numbers else "")

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say in a sentence why a trial that was set aside continued.

        Args:
            why: the verdict's numbers, with its ``rule`` and the ``unit`` of progress.
        """
        with_value = f" with {show(why['value'])}" if "value" in why else ""
        place = f" once it was at place {why['place']} of {why['of']}" if {"place", "of"} <= why.keys() else ""
        return f"Set aside after {rung_text(why)}{with_value}, and promoted{place}."

    def observe(self, event: Event) -> None:
        """Take note of an event of the journal. The scheduler sees every event once, in order."""
        if event.type == "segment.reported":
            self._observe_report(event)
        elif event.type == "sweep.created":
            self._may_report_once = self.horizon is None and event.fields.get("suggestion_rules", 1) >= _SINGLE_REPORTS
        elif event.type == "trial.set_aside":
            self.set_aside.add(event["trial"])
            self.on_set_aside(event["trial"], event.progress)
        elif event.type in ("trial.promoted", "trial.stopped"):
            self.set_aside.discard(event["trial"])
        elif event.type == "sweep.extended" and (horizon := extended_horizon(event["changed"], self.unit)):
            self.horizon = horizon
            self.on_extended(horizon)

    def _observe_report(self, event: Event) -> None:
        """Take note of a report; one without the objective, which some validations do not log, is passed over."""
        trial, metrics = event["trial"], event["metrics"]
        if self.objective.metric not in metrics:
            return
        value = self.last[trial] = float(metrics[self.objective.metric])
        self._may_report_once &= event.progress <= self._reported.get(trial, event.progress)
        self._reported[trial] = event.progress
        if math.isfinite(value):
            loss = self.objective.loss(value)
            self.best[trial] = min(loss, self.best.get(trial, math.inf))
            self.curves.setdefault(trial, LossCurve()).add(event.progress, loss)
        self.on_report(trial, event.progress)

    def loss_at(self, trial: int, rung: float, since: float = -math.inf) -> Compared:
        """Return the lowest loss of a trial up to a rung, beyond ``since``, at equal progress with all others.

        Where no report falls on the rung, the loss there is interpolated between the reports around it; a trial whose
        first report lies beyond the rung counts with that one. If the spec says ``interpolate: false``, its last report
        counts in either case.
        """
        if self._interpolates:
            return self.curves[trial].up_to(rung, since)
        return Compared(self.best[trial] if since == -math.inf else self.curves[trial].lowest(since))

    def is_at_end(self, progress: float) -> bool:
        """Return whether a trial of that progress trains no longer."""
        return self.horizon is not None and progress >= self.horizon

    def judge(self, trial: int, progress: float) -> Verdict | None:
        """Return the verdict on a trial after a report that was observed; None if it continues.

        A value that is not finite stops a trial at once, whatever the scheduler. A report without the objective
        decides nothing. Where it is not known how long trainings are, as of code that reports its result alone, no
        report decides before some trial has reported twice: what has ended would be stopped, or begin again.
        """
        if self._reported.get(trial) != progress:
            return None
        value = self.last[trial]
        if not math.isfinite(value):
            return Verdict("not_finite", {"metric": self.objective.metric, "value": str(value)})
        if self._may_report_once:
            return None
        return self.judge_report(trial, progress)

    @abstractmethod
    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Return the verdict on a trial after its report at ``progress``, a finite value; None if it continues.

        It may be called again for the same report and must then return the same.
        """

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """Return the trial set aside that is to continue, or to end, now, and why; None if there is none.

        Args:
            last: no other trial runs or will come, so what is to see its end has to continue now.
        """
        return None

    def dismiss(self, trial: int) -> Verdict:
        """Return why a trial that was set aside does not continue, once the sweep is at its end."""
        return Verdict(self.name, {})

    @property
    def lends(self) -> Set[tuple[int, float]]:
        """Checkpoints, by trial and progress, from which other trials may still continue: they are kept."""
        return frozenset()

    def on_report(self, trial: int, progress: float) -> None:
        """Take note of a report; `last`, `best` and `curves` hold it already. It may come again after a restart."""
        return

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Take note that a trial waits for its promotion."""
        return

    def on_extended(self, horizon: float) -> None:
        """Take note that trials now train until ``horizon``; the attribute has it already."""
        return

    def value(self, loss: float) -> float:
        """Return a loss in the metric's own sign."""
        return -loss if self.objective.mode == "max" else loss


def place_text(why: Mapping[str, Any], key: str = "rung") -> str:
    """Return a progress of a verdict in words: ``epoch 3``, ``step 500``."""
    number = why.get(key)
    return "an unknown place" if number is None else place(number, why.get("unit", EPOCHS))


def rung_text(why: Mapping[str, Any]) -> str:
    """Return the rung of a verdict in words, and whether the trial's loss there is interpolated."""
    between = why.get("between")
    if not between:
        return place_text(why)
    unit = why.get("unit", EPOCHS)
    ends = " and ".join(place(number, unit) for number in between)
    return f"{place_text(why)} (interpolated between its reports at {ends})"


def placed_text(why: Mapping[str, Any]) -> str:
    """Return in words a trial's place and value in a comparison, and the value of the last one kept."""
    value, needed = show_apart(why["value"], why["needed"])
    ties = "; of equal values those of lower trial numbers were kept" if why["value"] == why["needed"] else ""
    return f"this one took place {why['place']} with {value}, and {needed} was needed{ties}"


def extended_horizon(changed: Mapping[str, Mapping[str, Any]], unit: str) -> float | None:
    """Return the new end of trials in an extension's changes; None if they do not change it."""
    until = changed.get("progress", {}).get("until")
    return until if until is not None else trainer_limit(changed.get("trainer", {}), unit)


def scheduler_class(name: str) -> type[Scheduler[Any]]:
    """Return a registered scheduler. Raises UsageError if there is none of that name, or it cannot be used."""
    return cast(type[Scheduler[Any]], registry.load("schedulers", name))


def build_scheduler(spec: SweepSpec) -> Scheduler[Any]:
    """Return the spec's scheduler, with nothing observed yet."""
    return scheduler_class(spec.scheduler.name).build(spec.scheduler, spec)


def foreign_scheduler(spec: SweepSpec) -> str:
    """Return the import path of a class that the spec's scheduler imports from outside its library; else empty."""
    return scheduler_class(spec.scheduler.name).foreign_class(spec.scheduler)


def recorded_scheduler(written: Mapping[str, Any]) -> tuple[type[Scheduler[Any]], Any] | None:
    """Return the scheduler and its options as a journal's spec has them; None if the plug-in is not usable here."""
    return recorded_plugin("schedulers", written)
