"""Population based training: trials that fall behind continue from another's checkpoint, with changed parameters."""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.journal import Event
from orchestrator.policies.loss_curves import Compared
from orchestrator.policies.scheduler import Scheduler, Verdict, rung_text
from orchestrator.progress import EPOCHS, plain, span, whole
from orchestrator.safe_text import show
from orchestrator.seeds import derive_seed
from orchestrator.space import Choice, Const, Space
from orchestrator.space.ranges import Int
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span, end_of

_INTERVALS = 10  # of a training whose interval is not given


class PopulationOptions(SchedulerOptions):
    """What the population schedulers share."""

    renamed: ClassVar[dict[str, str]] = {"interval_epochs": "interval"}
    interval: Span = Field(
        default=None,
        description="From one comparison to the next, a number in the unit of progress or text such as 500 steps; by "
        "default a tenth of the training.",
        examples=[2],
    )
    quantile: float = Field(
        default=0.25, gt=0, le=0.5, description="The share that takes over, and the share that is taken from.",
        examples=[0.25],
    )  # fmt: skip
    mutate: list[str] | None = Field(
        default=None, description="The parameters that may change; by default all fractional numbers.",
        examples=[["model.learning_rate"]],
    )  # fmt: skip


OptionsT = TypeVar("OptionsT", bound=PopulationOptions)


def mutable(space: Space) -> list[str]:
    """Return the parameters that may change by default: fractional numbers.

    Whole numbers and choices mostly shape the network or the batches, and weights are passed on.
    """
    return [name for name, domain in space.items() if not isinstance(domain, Int | Choice | Const) and domain.size != 1]


class PopulationScheduler(Scheduler[OptionsT]):
    """Population based training (Jaderberg et al. 2017, arXiv:1711.09846), asynchronous.

    After every ``interval``, at its first report there or beyond, a trial is set aside; once the complete population
    has begun, the trial that is furthest behind continues. If it is among the worst ``quantile`` of those that have
    come there, it takes over: it continues from the checkpoint that one of the best ``quantile`` had there, drawn at
    random, with that trial's parameters changed. A trial that failed or was stopped is no donor, nor is one whose first
    report there was its last: nothing would be left to train.
    """

    population = True
    divides_epochs = True

    def __init__(self, options: OptionsT, spec: SweepSpec, *, resample: float) -> None:
        super().__init__(options, spec)
        self._space, self._seed, self._population = spec.space, spec.seed, spec.budget.trials or 1
        self._points = comparisons(options, spec.horizon or 1)
        self._quantile, self._resample = options.quantile, resample
        self._mutate = frozenset(mutable(spec.space) if options.mutate is None else options.mutate)
        self._params: dict[int, dict[str, Any]] = {}
        self._reached: dict[int, float] = {}
        self._entered: dict[float, list[tuple[float, int]]] = {point: [] for point in self._points}  # best first
        self._states: dict[tuple[int, float], tuple[float, dict[str, Any]]] = {}  # trial, point -> loss and parameters
        self._places: dict[tuple[int, float], float] = {}  # trial, point -> progress of its report and checkpoint
        self._compared: dict[tuple[int, float], Compared] = {}
        self._behind: list[tuple[float, int]] = []
        self._at: dict[int, float] = {}  # trial set aside -> its point
        self._passed: dict[int, float] = {}  # trial -> the last point after which it continued
        self._passed_before_end: dict[int, float] = {}  # the same, of a trial that has ended
        self._to_pass = dict.fromkeys(self._points, self._population)  # how many trials may still take over there
        self._saved: set[tuple[int, float]] = set()  # checkpoints, by trial and progress
        self._no_donors: set[int] = set()
        self._answer: tuple[int, Verdict] | None = None
        self._lends: frozenset[tuple[int, float]] | None = None

    @classmethod
    def problems(cls, options: OptionsT, spec: SweepSpec) -> Iterator[Problem]:
        """Yield what a population lacks: its size, its length, and parameters to change."""
        name, unit, horizon, interval = options.name, spec.progress.unit, spec.horizon, options.interval
        if spec.budget.trials is None:
            yield Problem(f"scheduler {name} needs budget.trials: they are its population",
                          "say how many train side by side, e.g. budget: {trials: 16}", ("budget",))  # fmt: skip
        if horizon is None:
            yield Problem(f"scheduler {name} needs {end_of(unit)}", f"give {end_of(unit)}", ("scheduler",))
        elif interval and interval >= horizon:
            yield Problem(f"interval is {span(interval, unit)}, not below the end at {span(horizon, unit)}",
                          f"use interval: {plain(_interval(options, horizon, default=True))}, or train for longer",
                          ("scheduler", "interval"))  # fmt: skip
        if spec.repeats.seeds > 1:
            yield Problem(f"scheduler {name} changes parameters on the way, so there is no configuration to repeat",
                          "leave `repeats` out, or use scheduler asha", ("repeats",))  # fmt: skip
        every = spec.report_span
        if unit == EPOCHS and isinstance(every, int) and isinstance(interval, int) and interval % every:
            yield Problem(f"interval is {interval}, but trials report every {every} epochs",
                          f"make it a multiple of {every}", ("scheduler", "interval"))  # fmt: skip
        for index, parameter in enumerate(options.mutate or ()):
            if parameter not in spec.space:
                close = get_close_matches(parameter, list(spec.space), n=1)
                hint = f"did you mean {close[0]}?" if close else f"the space has {', '.join(spec.space) or 'none'}"
                path = ("scheduler", "mutate", index)
                yield Problem(f"mutate: {parameter} is not a parameter of the space", hint, path)
        if not (mutable(spec.space) if options.mutate is None else options.mutate):
            yield Problem(f"scheduler {name} has nothing to change: the space has no fractional number",
                          "name what it may change under `mutate`; the weights are passed on, so not what shapes the "
                          "network", ("scheduler",))  # fmt: skip

    @classmethod
    def rungs(cls, options: OptionsT, horizon: float) -> list[float]:
        """Return the points at which trials are compared."""
        return comparisons(options, horizon)

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say how the trial compared, for one that continued without a takeover."""
        place = f"at place {why['place']} of {why['of']}"
        return f"Compared after {rung_text(why)}: {show(why['value'])}, {place}; it continued as it was."

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        super().observe(event)
        self._answer = None
        if event.type == "trial.suggested":
            self._params[event["trial"]] = event["params"]
        elif event.type == "segment.checkpointed" and not event.fields.get("interim"):
            self._saved.add((event["trial"], event.progress))
        elif event.type == "checkpoints.removed":
            self._saved.difference_update((trial, progress) for trial, progress in event["removed"])
        elif event.type == "trial.promoted":
            self.on_promoted(event)
        elif event.type in ("trial.stopped", "trial.failed", "trial.finished"):
            self._end(event)
        elif event.type == "trial.retried":
            self._restore(event["trial"])
        elif event.type == "sweep.extended":
            for trial in event["trials"]:
                self._restore(trial)

    @property
    def lends(self) -> Set[tuple[int, float]]:
        """The checkpoints of the best at each point where trials may still take over."""
        if self._lends is None:
            share = math.ceil(self._population * self._quantile)
            lenders = [(point, self._entered[point][:share]) for point, trials in self._to_pass.items() if trials]
            lent = ((trial, self._places[trial, point]) for point, best in lenders for _, trial in best)
            self._lends = frozenset(checkpoint for checkpoint in lent if not self.is_at_end(checkpoint[1]))
        return self._lends

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """Return the trial that is furthest behind, once the complete population has begun."""
        if len(self._params) < self._population and not last:
            return None
        if self._answer is None:  # the engine asks repeatedly until something happens
            self._answer = self._next()
        return self._answer

    def _next(self) -> tuple[int, Verdict] | None:
        while self._behind and self._at.get(self._behind[0][1]) != self._behind[0][0]:
            heapq.heappop(self._behind)
        if not self._behind:
            return None
        point, trial = self._behind[0]
        order, loss = self._entered[point], self._states[trial, point][0]
        place = bisect.bisect_left(order, (loss, trial)) + 1
        numbers: dict[str, Any] = {"rung": point, "place": place, "of": len(order), "value": self.value(loss)}
        numbers |= self._compared[trial, point].why
        donor = self._donor(trial, point, place)
        if donor is None:
            return trial, Verdict(self.name, numbers, "promote")
        numbers |= {"donor": donor, "donor_value": self.value(self._states[donor, point][0])}
        source = donor, self._places[donor, point]
        return trial, Verdict(self.name, numbers, "promote", source, self.explore(donor, trial, point))

    def _donor(self, trial: int, point: float, place: int) -> int | None:
        """Return the donor for a trial at that place; None if it continues by itself."""
        order, loss = self._entered[point], self._states[trial, point][0]
        share = min(math.ceil(len(order) * self._quantile), len(order) // 2)
        if place <= len(order) - share:
            return None
        donors = [
            donor
            for donor_loss, donor in order[:share]
            if donor_loss < loss and donor not in self._no_donors and self._has_checkpoint(donor, point)
        ]
        rng = random.Random(derive_seed(self._seed, "donor", trial, point))
        return donors[int(rng.random() * len(donors))] if donors else None

    def _has_checkpoint(self, trial: int, point: float) -> bool:
        """Return whether another trial can continue from the checkpoint that a trial had at a point."""
        place = self._places[trial, point]
        return (trial, place) in self._saved and not self.is_at_end(place)

    def explore(self, donor: int, trial: int, point: float) -> dict[str, Any]:
        """Return the donor's parameters, changed.

        A parameter is drawn again at times; else a number is a fifth more or less, and a choice one of its neighbours.
        """
        params = self._states[donor, point][1]
        rng = random.Random(derive_seed(self._seed, "explore", trial, point))
        explored: dict[str, Any] = {}
        for name in self._space.order:
            if not self._space.active(explored, name):
                continue
            domain = self._space[name]
            if name in params and name not in self._mutate:
                explored[name] = params[name]
            elif name not in params or rng.random() < self._resample:
                explored[name] = domain.sample(rng)
            else:
                explored[name] = domain.nudged(params[name], 1.2 if rng.random() < 0.5 else 0.8)
        return explored

    def on_promoted(self, event: Event) -> None:
        """Take note that a trial continues, with other parameters if it took over."""
        trial = event["trial"]
        self._pass(trial, self._at.pop(trial))
        if "params" in event.fields:
            self._params[trial] = event["params"]

    def _end(self, event: Event) -> None:
        trial = event["trial"]
        self._at.pop(trial, None)
        self._passed_before_end[trial] = self._passed.get(trial, 0)
        self._pass(trial, math.inf)
        if event.type != "trial.finished":
            self._no_donors.add(trial)

    def _restore(self, trial: int) -> None:
        """Take note that a trial that had ended is retried or extended."""
        self._no_donors.discard(trial)
        passed = self._passed_before_end.pop(trial, math.inf)
        for point in self._points:
            if passed < point <= self._passed.get(trial, 0):
                self._to_pass[point] += 1
        self._passed[trial] = passed
        self._lends = None

    def _pass(self, trial: int, up_to: float) -> None:
        """Take note that a trial will not take over at these points any more."""
        passed = self._passed.get(trial, 0)
        for point in self._points:
            if passed < point <= up_to:
                self._to_pass[point] -= 1
                self._lends = None
        self._passed[trial] = max(up_to, passed)

    def on_report(self, trial: int, progress: float) -> None:
        """Note the trial's loss and parameters at a point of comparison, at its first report there or beyond."""
        if progress <= self._reached.get(trial, 0) or not math.isfinite(self.last[trial]):
            return  # a repeated report counts as it was the first time
        before, self._reached[trial] = self._reached.get(trial, 0), progress
        point = self._point(progress)
        if point is not None and point > before:
            compared = self._loss_at_point(trial, point)
            self._compared[trial, point], self._places[trial, point] = compared, progress
            self._states[trial, point] = compared.loss, self._params[trial]
            bisect.insort(self._entered[point], (compared.loss, trial))
            self._lends = None

    def _point(self, progress: float) -> float | None:
        """Return the last point up to a progress; None before the first."""
        index = bisect.bisect_right(self._points, progress) - 1
        return None if index < 0 else self._points[index]

    def _loss_at_point(self, trial: int, point: float) -> Compared:
        """Return the loss at a point: of the report there, or interpolated between those around it."""
        return self.curves[trial].at(point) if self._interpolates else Compared(self.objective.loss(self.last[trial]))

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Set aside a trial that has come to a point of comparison that it has not passed, and is not at its end."""
        point = None if self.is_at_end(progress) else self._point(progress)
        if point is None or self._places.get((trial, point)) != progress or point <= self._passed.get(trial, 0):
            return None
        numbers = {"rung": point, "value": self.value(self._states[trial, point][0])}
        return Verdict(self.name, {**numbers, **self._compared[trial, point].why}, "set_aside")

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait."""
        point = self._point(progress)
        assert point is not None
        self._at[trial] = point
        heapq.heappush(self._behind, (point, trial))


def comparisons(options: PopulationOptions, horizon: float) -> list[float]:
    """Return the points at which trials are compared, below the end."""
    interval = _interval(options, horizon)
    points = (whole(round(interval * count, 9)) for count in range(1, math.ceil(horizon / interval) + 1))
    return [point for point in points if point < horizon]


def _interval(options: PopulationOptions, horizon: float, *, default: bool = False) -> float:
    """Return the interval; by default a tenth of the training, at least 1 where that is whole and more than 1."""
    if options.interval is not None and not default:
        return whole(options.interval)
    return max(1, horizon // _INTERVALS) if isinstance(horizon, int) and horizon > 1 else horizon / _INTERVALS
