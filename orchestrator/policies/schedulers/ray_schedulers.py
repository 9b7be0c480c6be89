"""A scheduler of Ray Tune's by its import path, asked outside of Ray and rebuilt from the journal's events."""

from __future__ import annotations

import math
import pkgutil
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.policies.schedulers.base import Scheduler, Verdict
from orchestrator.seeds import derive_seed
from orchestrator.state import Objective

RAYS = "ray.tune.schedulers."
_HINT = "name a subclass of ray.tune.schedulers.TrialScheduler by its import path"


@dataclass(eq=False)
class _Trial:
    """What a scheduler sees of a trial."""

    trial_id: str
    config: Mapping[str, Any]
    started: float
    status: str = "RUNNING"
    last_result: dict[str, Any] = field(default_factory=dict)

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")


class _Controller:
    """Stands where Tune's controller would: it knows the live trials, and nothing can be done through it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.trials: dict[int, _Trial] = {}

    def get_live_trials(self) -> set[_Trial]:
        return set(self.trials.values())

    def get_trials(self) -> list[_Trial]:
        return list(self.trials.values())

    def __getattr__(self, name: str) -> NoReturn:
        raise _refusal(self._name, f"asks Ray's controller for {name}")


class RayScheduler(Scheduler):
    """A `TrialScheduler` that the sweep file names. It is made when the first trial comes.

    It is told of each epoch once, as the journal has it: ``training_iteration`` is the epoch, ``time_total_s`` the time
    since the trial began. What it draws from the global random states of Python and NumPy is seeded with the record's
    place, so that a replay comes to the same. Its answer may be to go on or to stop.
    """

    def __init__(self, objective: Objective, seed: int, class_path: str, init_args: Mapping[str, Any]) -> None:
        super().__init__(objective)
        self._seed, self._class_path, self._init_args = seed, class_path, dict(init_args)
        self.name = class_path.rsplit(".", 1)[-1]
        self._controller = _Controller(self.name)
        self._reached: dict[int, int] = {}
        self._answers: dict[int, tuple[int, str]] = {}
        self._made: Any = None

    def observe(self, event: Event) -> None:
        super().observe(event)
        trials = self._controller.trials
        if event.type == "trial.suggested":
            trials[event["trial"]] = _Trial(str(event["trial"]), event["params"], event.time)
            self._told(event, "on_trial_add", trials[event["trial"]])
        elif event.type == "segment.reported" and event["trial"] in trials:
            self._report(event, trials[event["trial"]])
        elif event.type in ("trial.finished", "trial.stopped", "trial.failed") and event["trial"] in trials:
            self._end(event, trials.pop(event["trial"]))

    def _report(self, event: Event, trial: _Trial) -> None:
        number, epoch, value = event["trial"], event["epoch"], self._last[event["trial"]]
        if epoch <= self._reached.get(number, 0) or not math.isfinite(value):
            return  # an epoch that is done again was told the first time
        self._reached[number] = epoch
        trial.last_result = {
            self._objective.metric: value,
            "training_iteration": epoch,
            "time_total_s": max(0.0, event.time - trial.started),
            "trial_id": trial.trial_id,
            "done": False,
        }
        self._answers[number] = epoch, self._told(event, "on_trial_result", trial, trial.last_result)

    def _end(self, event: Event, trial: _Trial) -> None:
        trial.status = "ERROR" if event.type == "trial.failed" else "TERMINATED"
        if event.type == "trial.finished":
            self._told(event, "on_trial_complete", trial, trial.last_result)
        elif event.type == "trial.failed":
            self._told(event, "on_trial_error", trial)
        elif event["rule"] != self.name:
            self._told(event, "on_trial_remove", trial)

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        told, answer = self._answers.get(trial, (0, ""))
        if told != epoch or answer in ("CONTINUE", "NOOP"):
            return None
        if answer != "STOP":
            raise _refusal(self.name, f"answers {answer}")
        return Verdict(self.name, {"rung": epoch, "value": self._last[trial]})

    def _told(self, event: Event, method: str, *arguments: Any) -> Any:
        with _seeded(derive_seed(self._seed, "ray", event.seq)):
            if self._made is None:
                self._made = made(self._class_path, self._init_args, self._objective)
            call: Callable[..., Any] = getattr(self._made, method)
            return call(self._controller, *arguments)


def made(class_path: str, init_args: Mapping[str, Any], objective: Objective) -> Any:
    """The scheduler. Raises UsageError where there is no such class, or it refuses what it is given."""
    try:
        found = pkgutil.resolve_name(class_path)
        base = pkgutil.resolve_name(f"{RAYS}TrialScheduler")
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{class_path} cannot be imported: {error}", hint=_HINT) from None
    if not isinstance(found, type) or not issubclass(found, base):
        raise UsageError(f"{class_path} is no TrialScheduler", hint=_HINT)
    try:
        scheduler: Any = found(**init_args)
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"{class_path} refuses its arguments: {error}", hint="correct scheduler.init_args") from error
    if not scheduler.set_search_properties(objective.metric, objective.mode):
        raise UsageError(f"{class_path} has a metric or mode already", hint="leave them out: they are the objective's")
    return scheduler


def try_out(objective: Objective, class_path: str, init_args: Mapping[str, Any], epochs: int) -> None:
    """Let a scheduler judge a few trials that are not there. Raises UsageError where it cannot be rebuilt by replay."""
    scheduler, seq = RayScheduler(objective, 0, class_path, init_args), 0

    def tell(type: str, **fields: Any) -> None:
        nonlocal seq
        scheduler.observe(Event(seq, 1, float(seq), type, fields))
        seq += 1

    for trial in range(4):
        tell("trial.suggested", trial=trial, params={}, by="random")
    running = list(range(4))
    for epoch in range(1, epochs + 1):
        for trial in list(running):
            tell("segment.reported", trial=trial, segment=0, epoch=epoch, metrics={objective.metric: trial + epoch})
            if scheduler.judge(trial, epoch):
                running.remove(trial)
                tell("trial.stopped", trial=trial, segment=0, epoch=epoch, rule=scheduler.name, why={})


def _refusal(name: str, what: str) -> UsageError:
    return UsageError(
        f"{name} {what}: it moves trials by means of Ray's controller, and cannot be rebuilt from a journal",
        hint="of ours, `asha` with promote, `hyperband`, `pbt` and `pb2` can",
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global random states that are the record's own, and as they were afterwards."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
