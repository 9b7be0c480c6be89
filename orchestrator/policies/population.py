"""Population based training: trials that fall behind continue from another's checkpoint, with changed parameters."""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.journal import Event
from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.safe_text import show
from orchestrator.seeds import derive_seed
from orchestrator.space import Choice, Const, Space
from orchestrator.space.ranges import Int
from orchestrator.spec import SchedulerOptions, SweepSpec

_INTERVALS = 10  # of a training whose interval is not given


class PopulationOptions(SchedulerOptions):
    """What the population schedulers share."""

    interval_epochs: int | None = Field(
        default=None, ge=1, description="Epochs between comparisons; by default a tenth of the training.", examples=[2]
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

    Every ``interval_epochs`` a trial is set aside; once the complete population has begun, the trial that is furthest
    behind continues. If it is among the worst ``quantile`` of those that have come to its epoch, it takes over: it
    continues from the checkpoint that one of the best ``quantile`` had at that epoch, drawn at random, with that
    trial's parameters changed. A trial that failed or was stopped is no donor.
    """

    population = True
    divides_epochs = True

    def __init__(self, options: OptionsT, spec: SweepSpec, *, resample: float) -> None:
        super().__init__(options, spec)
        self._space, self._seed, self._population = spec.space, spec.seed, spec.budget.trials or 1
        self._epochs = comparisons(options, spec.trainer["max_epochs"])
        self._quantile, self._resample = options.quantile, resample
        self._mutate = frozenset(mutable(spec.space) if options.mutate is None else options.mutate)
        self._params: dict[int, dict[str, Any]] = {}
        self._reached: dict[int, float] = {}
        self._entered: dict[float, list[tuple[float, int]]] = {progress: [] for progress in self._epochs}  # best first
        self._states: dict[tuple[int, float], tuple[float, dict[str, Any]]] = {}  # trial, epoch -> loss and parameters
        self._behind: list[tuple[float, int]] = []
        self._at: dict[int, float] = {}  # trial set aside -> its progress
        self._passed: dict[int, float] = {}  # trial -> the last epoch after which it continued
        self._passed_before_end: dict[int, float] = {}  # the same, of a trial that has ended
        self._to_pass = dict.fromkeys(self._epochs, self._population)  # how many trials may still take over there
        self._saved: set[tuple[int, float]] = set()  # checkpoints, by trial and epoch
        self._no_donors: set[int] = set()
        self._answer: tuple[int, Verdict] | None = None
        self._lends: frozenset[tuple[int, float]] | None = None

    @classmethod
    def problems(cls, options: OptionsT, spec: SweepSpec) -> Iterator[Problem]:
        """Yield what a population lacks: its size, its length, and parameters to change."""
        name, max_epochs, interval = options.name, spec.trainer.get("max_epochs"), options.interval_epochs
        if spec.budget.trials is None:
            yield Problem(f"scheduler {name} needs budget.trials: they are its population",
                          "say how many train side by side, e.g. budget: {trials: 16}", ("budget",))  # fmt: skip
        if max_epochs is None:
            yield Problem(f"scheduler {name} needs trainer.max_epochs", "give trainer.max_epochs", ("scheduler",))
        elif interval and interval >= max_epochs:
            yield Problem(f"interval_epochs is {interval}, not below trainer.max_epochs = {max_epochs}",
                          f"use interval_epochs: {max(1, max_epochs // _INTERVALS)}, or more epochs",
                          ("scheduler", "interval_epochs"))  # fmt: skip
        if spec.repeats.seeds > 1:
            yield Problem(f"scheduler {name} changes parameters on the way, so there is no configuration to repeat",
                          "leave `repeats` out, or use scheduler asha", ("repeats",))  # fmt: skip
        every = spec.trainer.get("check_val_every_n_epoch") or 1
        if isinstance(every, int) and (interval or every) % every:
            yield Problem(f"interval_epochs is {interval}, but trials report every {every} epochs",
                          f"make it a multiple of {every}", ("scheduler", "interval_epochs"))  # fmt: skip
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
        """Return the epochs at which trials are compared."""
        return list(comparisons(options, int(horizon)))

    @classmethod
    def explain_promotion(cls, why: Mapping[str, Any]) -> str:
        """Say how the trial compared, for one that continued without a takeover."""
        place = f"at place {why['place']} of {why['of']}"
        return f"Compared after epoch {why['rung']}: {show(why['value'])}, {place}; it continued as it was."

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        super().observe(event)
        self._answer = None
        if event.type == "trial.suggested":
            self._params[event["trial"]] = event["params"]
        elif event.type == "segment.checkpointed":
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
        """The checkpoints of the best at each epoch where trials may still take over."""
        if self._lends is None:
            share = math.ceil(self._population * self._quantile)
            open_epochs = [progress for progress, trials in self._to_pass.items() if trials]
            self._lends = frozenset(
                (trial, progress) for progress in open_epochs for _, trial in self._entered[progress][:share]
            )
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
        progress, trial = self._behind[0]
        order, loss = self._entered[progress], self._states[trial, progress][0]
        place = bisect.bisect_left(order, (loss, trial)) + 1
        numbers = {"rung": progress, "place": place, "of": len(order), "value": self.value(loss)}
        donor = self._donor(trial, progress, place)
        if donor is None:
            return trial, Verdict(self.name, numbers, "promote")
        numbers |= {"donor": donor, "donor_value": self.value(self._states[donor, progress][0])}
        return trial, Verdict(self.name, numbers, "promote", (donor, progress), self.explore(donor, trial, progress))

    def _donor(self, trial: int, progress: float, place: int) -> int | None:
        """Return the donor for a trial at that place; None if it continues by itself."""
        order, loss = self._entered[progress], self._states[trial, progress][0]
        share = min(math.ceil(len(order) * self._quantile), len(order) // 2)
        if place <= len(order) - share:
            return None
        donors = [
            donor
            for donor_loss, donor in order[:share]
            if donor_loss < loss and donor not in self._no_donors and (donor, progress) in self._saved
        ]
        rng = random.Random(derive_seed(self._seed, "donor", trial, progress))
        return donors[int(rng.random() * len(donors))] if donors else None

    def explore(self, donor: int, trial: int, progress: float) -> dict[str, Any]:
        """Return the donor's parameters, changed.

        A parameter is drawn again at times; else a number is a fifth more or less, and a choice one of its neighbours.
        """
        params = self._states[donor, progress][1]
        rng = random.Random(derive_seed(self._seed, "explore", trial, progress))
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
        self._pass(trial, self._epochs.stop)
        if event.type != "trial.finished":
            self._no_donors.add(trial)

    def _restore(self, trial: int) -> None:
        """Take note that a trial that had ended is retried or extended."""
        self._no_donors.discard(trial)
        passed = self._passed_before_end.pop(trial, self._epochs.stop)
        for progress in self._epochs:
            if passed < progress <= self._passed.get(trial, 0):
                self._to_pass[progress] += 1
        self._passed[trial] = passed
        self._lends = None

    def _pass(self, trial: int, up_to: float) -> None:
        """Take note that a trial will not take over at these epochs any more."""
        passed = self._passed.get(trial, 0)
        for progress in self._epochs:
            if passed < progress <= up_to:
                self._to_pass[progress] -= 1
                self._lends = None
        self._passed[trial] = max(up_to, passed)

    def on_report(self, trial: int, progress: float) -> None:
        """Note the trial's loss and parameters at an epoch of comparison."""
        value = self.last[trial]
        if progress <= self._reached.get(trial, 0) or not math.isfinite(value):
            return  # a repeated epoch counts as it was the first time
        self._reached[trial] = progress
        if progress in self._epochs:
            loss = self.objective.loss(value)
            self._states[trial, progress] = loss, self._params[trial]
            bisect.insort(self._entered[progress], (loss, trial))
            self._lends = None

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Set aside a trial at an epoch of comparison that it has not passed."""
        if (trial, progress) not in self._states or progress <= self._passed.get(trial, 0):
            return None
        return Verdict(
            self.name, {"rung": progress, "value": self.value(self._states[trial, progress][0])}, "set_aside"
        )

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait."""
        self._at[trial] = progress
        heapq.heappush(self._behind, (progress, trial))


def comparisons(options: PopulationOptions, max_epochs: int) -> range:
    """Return the epochs at which trials are compared."""
    interval = options.interval_epochs or max(1, max_epochs // _INTERVALS)
    return range(interval, max_epochs, interval)
