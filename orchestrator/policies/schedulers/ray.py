"""Ray Tune's own schedulers, by import path, called outside of Ray and rebuilt from the journal's events.

A class that needs Ray Tune's controller is refused, since it cannot be rebuilt from a journal: PopulationBasedTraining,
PB2, HyperBandScheduler, HyperBandForBOHB, ResourceChangingScheduler, and any answer but CONTINUE, NOOP or STOP (PAUSE
is how those move trials). A short rehearsal before the start finds them. `asha` with promote, `hyperband`, `pbt`, `pb2`
do the same within a journal. Arguments that the class does not take are refused, too.
"""

from __future__ import annotations

import math
import pkgutil
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from pydantic import Field

from orchestrator.errors import UsageError
from orchestrator.journal import Event, SteadyTime
from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.progress import noun, whole
from orchestrator.seeds import derive_seed
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.parts import Arguments, ClassPath
from orchestrator.state import Objective

_RAYS = "ray.tune.schedulers."
_HINT = "name a subclass of ray.tune.schedulers.TrialScheduler by its import path"
_TRIED_REPORTS = 100  # at most, of trials that do not exist, before a scheduler is trusted


class RayTune(SchedulerOptions):
    """A scheduler of Ray Tune's, or your own, by its import path; one that only continues or stops trials.

    Example:
        ```python
        scheduler = orchestrator.RayTune(class_path="ray.tune.schedulers.MedianStoppingRule")
        ```
    """

    name: Literal["ray"] = "ray"
    class_path: ClassPath = Field(
        description="Import path of a subclass of ray.tune.schedulers.TrialScheduler.",
        examples=["ray.tune.schedulers.MedianStoppingRule"],
    )
    init_args: Arguments = Field(
        default_factory=dict,
        description="Arguments of the class; metric and mode are the objective's.",
        examples=[{"time_attr": "training_iteration"}],
    )


@dataclass(eq=False)
class _Trial:
    """What a scheduler of Ray's sees of a trial."""

    trial_id: str
    config: Mapping[str, Any]
    started: float
    status: str = "RUNNING"
    last_result: dict[str, Any] = field(default_factory=dict)

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")


class _Controller:
    """A stand-in for Tune's controller: it knows the live trials, and refuses everything else."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.trials: dict[int, _Trial] = {}

    def get_live_trials(self) -> set[_Trial]:
        return set(self.trials.values())

    def get_trials(self) -> list[_Trial]:
        return list(self.trials.values())

    def __getattr__(self, name: str) -> NoReturn:
        raise _refusal(self._name, f"asks Ray's controller for {name}")


class RayTuneScheduler(Scheduler[RayTune]):
    """Ask a `TrialScheduler` that the sweep file names. It is built when the first trial comes.

    It sees each report once, as the journal has it: ``training_iteration`` is the progress, which also has the unit's
    name (``steps``), and ``time_total_s`` is the time since the trial began. Random numbers that it draws from the
    global states of Python and NumPy are seeded with the record's place, so that a replay draws the same.
    """

    forecasts = False  # it would import Ray, or a class that the sweep file names

    def __init__(self, options: RayTune, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self.name = self.label(options)
        self._seed = spec.seed
        self._controller = _Controller(self.name)
        self._reached: dict[int, float] = {}
        self._answers: dict[int, tuple[float, str]] = {}  # trial -> progress and answer
        self._scheduler: Any = None
        self._clock, self._now = SteadyTime(), 0.0

    @classmethod
    def preflight(cls, options: RayTune, spec: SweepSpec) -> None:
        """Let the class judge a few trials that do not exist. Raises UsageError if it cannot do without Ray."""
        end = spec.horizon or _TRIED_REPORTS
        span = max(spec.report_span or min(1, end), end / _TRIED_REPORTS)
        _rehearse(cls(options, spec), [whole(span * number) for number in range(1, math.ceil(end / span) + 1)])

    @classmethod
    def foreign_class(cls, options: RayTune) -> str:
        """Return the class path unless the class is one of Ray's."""
        return "" if options.class_path.startswith(_RAYS) else options.class_path

    @classmethod
    def label(cls, options: RayTune) -> str:
        """Return the name of Ray's class."""
        return options.class_path.rsplit(".", 1)[-1]

    def observe(self, event: Event) -> None:
        """Pass the event to Ray's scheduler, in its terms."""
        super().observe(event)
        self._now = self._clock.of(event)
        trials = self._controller.trials
        if event.type == "trial.suggested":
            trials[event["trial"]] = _Trial(str(event["trial"]), event["params"], self._now)
            self._call(event, "on_trial_add", trials[event["trial"]])
        elif event.type == "segment.reported" and event["trial"] in trials:
            self._report(event, trials[event["trial"]])
        elif event.type in ("trial.finished", "trial.stopped", "trial.failed") and event["trial"] in trials:
            self._end(event, trials.pop(event["trial"]))

    def _report(self, event: Event, trial: _Trial) -> None:
        number, progress, value = event["trial"], event.progress, self.last[event["trial"]]
        if progress <= self._reached.get(number, 0) or not math.isfinite(value):
            return  # a repeated report counts as it was the first time
        self._reached[number] = progress
        trial.last_result = {
            self.objective.metric: value,
            "training_iteration": progress,
            noun(self.unit): progress,
            "time_total_s": max(0.0, self._now - trial.started),
            "trial_id": trial.trial_id,
            "done": False,
        }
        self._answers[number] = progress, self._call(event, "on_trial_result", trial, trial.last_result)

    def _end(self, event: Event, trial: _Trial) -> None:
        trial.status = "ERROR" if event.type == "trial.failed" else "TERMINATED"
        if event.type == "trial.finished":
            self._call(event, "on_trial_complete", trial, trial.last_result)
        elif event.type == "trial.failed":
            self._call(event, "on_trial_error", trial)
        elif event["rule"] != self.name:
            self._call(event, "on_trial_remove", trial)

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Return what Ray's scheduler answered. Raises UsageError for an answer that cannot be followed."""
        answered, answer = self._answers.get(trial, (0, ""))
        if answered != progress or answer in ("CONTINUE", "NOOP"):
            return None
        if answer != "STOP":
            raise _refusal(self.name, f"answers {answer}")
        return Verdict(self.name, {"rung": progress, "value": self.last[trial]})

    def _call(self, event: Event, method: str, *arguments: Any) -> Any:
        with _seeded(derive_seed(self._seed, "ray", event.seq)):
            if self._scheduler is None:
                self._scheduler = _instance(self.options, self.objective)
            call: Callable[..., Any] = getattr(self._scheduler, method)
            return call(self._controller, *arguments)


def _instance(options: RayTune, objective: Objective) -> Any:
    """Return the scheduler. Raises UsageError if there is no such class, or it refuses its arguments."""
    class_path = options.class_path
    try:
        cls = pkgutil.resolve_name(class_path)
        base = pkgutil.resolve_name(f"{_RAYS}TrialScheduler")
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{class_path} cannot be imported: {error}", hint=_HINT) from None
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise UsageError(f"{class_path} is no TrialScheduler", hint=_HINT)
    try:
        scheduler: Any = cls(**options.init_args)
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"{class_path} refuses its arguments: {error}", hint="correct scheduler.init_args") from error
    if not scheduler.set_search_properties(objective.metric, objective.mode):
        raise UsageError(f"{class_path} has a metric or mode already", hint="leave them out: they are the objective's")
    return scheduler


def _rehearse(scheduler: RayTuneScheduler, places: Sequence[float]) -> None:
    """Let a scheduler judge four trials that do not exist, up to where trials end.

    Raises:
        UsageError: It cannot be rebuilt by replay.
    """
    metric, seq = scheduler.objective.metric, 0

    def observe(type: str, **fields: Any) -> None:
        nonlocal seq
        scheduler.observe(Event(seq, 1, float(seq), type, fields))
        seq += 1

    for trial in range(4):
        observe("trial.suggested", trial=trial, params={}, by="random")
    running = list(range(4))
    for number, progress in enumerate(places, 1):
        for trial in list(running):
            observe("segment.reported", trial=trial, segment=0, progress=progress, metrics={metric: trial + number})
            if scheduler.judge(trial, progress):
                running.remove(trial)
                observe("trial.stopped", trial=trial, segment=0, progress=progress, rule=scheduler.name, why={})


def _refusal(name: str, what: str) -> UsageError:
    return UsageError(
        f"{name} {what}: it moves trials by means of Ray's controller, and cannot be rebuilt from a journal",
        hint="use asha with promote, hyperband, pbt or pb2",
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random states, and restore them afterwards."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
