"""The trials of a sweep as a searcher sees them, from the events alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from orchestrator.journal import Event
from orchestrator.space import Space
from orchestrator.state import Objective

_ENDS = {"trial.finished": "finished", "trial.stopped": "stopped", "trial.failed": "failed"}


@dataclass
class PastTrial:
    """One trial.

    Attributes:
        number: its number; below zero for a trial of an earlier sweep.
        params: its parameters.
        point: the active parameters that vary, each as a value of its Optuna distribution.
        state: ``unfit`` is a trial that ended without any value that counts: not a number from the start, never within
            the constraints, or too large for the memory. ``failed`` says nothing about its parameters.
        loss: its best so far; lower is better, infinite before a finite report.
        losses: those of all objectives at the report of its best.
        progress: that of its last report, in the sweep's unit.
        drawn: parameters that a trial of an earlier sweep did not have; their values are drawn at random.
    """

    number: int
    params: dict[str, Any]
    point: dict[str, float | int]
    state: Literal["running", "finished", "stopped", "unfit", "failed"] = "running"
    loss: float = math.inf
    losses: tuple[float, ...] = ()
    progress: float = 0
    drawn: tuple[str, ...] = ()

    @property
    def trained_point(self) -> dict[str, float | int]:
        """The point without what was drawn for it."""
        return {name: value for name, value in self.point.items() if name not in self.drawn}

    @property
    def merit(self) -> tuple[int, float, float, int]:
        """The sort key from good to bad: finished by loss, stopped by progress reached and then by loss, unfit."""
        if self.state == "finished":
            return 0, self.loss, 0.0, self.number
        return (1, -self.progress, self.loss, self.number) if self.state == "stopped" else (2, 0.0, 0.0, self.number)


def trial_events(event: Event) -> Iterator[Event]:
    """Yield the event; if it is about several trials, the events that it means for each of them."""
    if event.type == "sweep.extended":
        for number in event["trials"]:
            yield replace(event, type="trial.retried", fields={"trial": number})
    elif event.type == "sweep.warmed":
        for number, trial in enumerate(event["trials"], -len(event["trials"])):
            yield from _earlier_trial(event, number, trial)
    else:
        yield event


def _earlier_trial(event: Event, number: int, trial: dict[str, Any]) -> Iterator[Event]:
    """Yield the events of a trial of an earlier sweep as if it had been one of this sweep."""
    suggested = {"trial": number, "params": trial["params"], "by": "warm start", "drawn": trial["drawn"]}
    yield replace(event, type="trial.suggested", fields=suggested)
    if trial["value"] is not None:
        metrics = {event["metric"]: trial["value"], **trial.get("also", {})}
        reported = {"trial": number, "epoch": trial["epochs"], "metrics": metrics}
        yield replace(event, type="segment.reported", fields=reported)
    yield replace(event, type=f"trial.{trial['status']}", fields={"trial": number})


class History:
    """Every trial, by its number, and the Optuna distribution of each parameter that varies."""

    def __init__(self, space: Space, objective: Objective) -> None:
        self._objective = objective
        self._domains = {name: space[name] for name in space.order}
        self.distributions: dict[str, Any] = {
            name: distribution
            for name, domain in self._domains.items()
            if (distribution := domain.optuna_distribution()) is not None
        }
        self.trials: dict[int, PastTrial] = {}

    def observe(self, event: Event) -> PastTrial | None:
        """Take note of an event. Return the trial that it began, ended or retried."""
        if event.type == "trial.suggested":
            number, params = event["trial"], event["params"]
            point = {name: self._domains[name].encode(params[name]) for name in self.distributions if name in params}
            self.trials[number] = PastTrial(number, params, point, drawn=tuple(event.fields.get("drawn", ())))
            return self.trials[number]
        if event.type == "segment.reported":
            self._report(self.trials[event["trial"]], event)
        elif event.type in _ENDS:
            return self._ended(self.trials[event["trial"]], event)
        elif event.type == "trial.retried":
            self.trials[event["trial"]].state = "running"
            return self.trials[event["trial"]]
        return None

    def _report(self, trial: PastTrial, event: Event) -> None:
        losses = self._objective.losses(event["metrics"])
        if math.isfinite(losses[0]):
            trial.progress = max(event.progress, trial.progress)
            if losses[0] < trial.loss:
                trial.loss, trial.losses = losses[0], losses

    def _ended(self, trial: PastTrial, event: Event) -> PastTrial:
        if event.type == "trial.failed":
            trial.state = "unfit" if str(event.fields.get("reason", "")).startswith("infeasible") else "failed"
        elif not trial.losses or not all(map(math.isfinite, trial.losses)):
            trial.state = "unfit"
        else:
            trial.state = "finished" if event.type == "trial.finished" else "stopped"
        return trial
