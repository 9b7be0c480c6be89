"""Callbacks of a sweep that Python launches: typed methods that a subclass overrides."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.codec import loaded, readable
from orchestrator.engine.controller import Observer
from orchestrator.journal import Event
from orchestrator.state import SweepState
from orchestrator.state.trial import ENDED, Status, Trial


@dataclass(frozen=True)
class TrialInfo:
    """A trial at one moment, as a callback receives it.

    Attributes:
        number: of the trial, from 0.
        status: ``running``, ``interrupted``, ``set_aside``, ``finished``, ``stopped`` or ``failed``.
        params: its hyperparameters: ``{"model.learning_rate": 0.003}``.
        epoch: the epochs trained by the last report, a fraction within one; 0 before the first report.
        value: the objective at the trial's best finite epoch; None if it has none.
        metrics: of the last report; empty before the first.
        reason: why it was stopped or has failed; empty otherwise.

    Example:
        ```python
        def describe(trial: orchestrator.TrialInfo) -> str:
            return f"trial {trial.number} at epoch {trial.epoch}: {trial.value}"
        ```
    """

    number: int
    status: Status
    params: Mapping[str, Any]
    epoch: float = 0
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class Callback:
    """React to events of a running sweep; override the methods that you need.

    The methods run in the process that launched the sweep, between two events: keep them short. An exception in one
    disables that callback with a warning, and the sweep continues.

    Example:
        ```python
        class PrintBest(orchestrator.Callback):
            def on_trial_end(self, trial: orchestrator.TrialInfo) -> None:
                print(trial.number, trial.status, trial.value)

        sweep.launch(local=True, callbacks=[PrintBest()])
        ```
    """

    def on_trial_start(self, trial: TrialInfo) -> None:
        """Receive a trial that starts; it is called once a trial, not again if the trial resumes."""

    def on_trial_report(self, trial: TrialInfo) -> None:
        """Receive a trial that has reported an epoch; ``trial.metrics`` are those of the report."""

    def on_trial_end(self, trial: TrialInfo) -> None:
        """Receive a trial that has finished, was stopped or has failed."""

    def on_sweep_end(self, status: str, reason: str) -> None:
        """Receive the end of the run: ``completed`` or ``paused``, and the reason."""


def trial_info(state: SweepState, trial: Trial) -> TrialInfo:
    """Return a trial's present state as callbacks and `Sweep.trials` give it."""
    best = state.objective.best(trial)
    reason = str(trial.stopped_by.get("rule", "")) if trial.status == "stopped" else ""
    if trial.status == "failed" and trial.failures:
        reason = trial.failures[-1].message
    metrics = dict(trial.reports[trial.progress].metrics) if trial.reports else {}
    value = best.value if best and math.isfinite(best.value) else None
    return TrialInfo(
        trial.number, trial.status, readable(dict(trial.params), loaded), trial.epoch, value, metrics, reason
    )


class CallbackObserver:
    """Pass a sweep's events on to callbacks, and to the observer that shows its progress."""

    def __init__(self, callbacks: Iterable[Callback], progress: Observer | None) -> None:
        self._callbacks = list(callbacks)
        self._progress = progress

    def phase(self, name: str) -> None:
        """Pass on that a phase of the start begins."""
        getattr(self._progress, "phase", lambda name: None)(name)

    def __call__(self, state: SweepState, event: Event) -> None:
        """Take an event that the journal has recorded."""
        if self._progress is not None:
            self._progress(state, event)
        for callback in list(self._callbacks):
            try:
                _dispatch(callback, state, event)
            except Exception:
                self._callbacks.remove(callback)
                warnings.warn(
                    f"{type(callback).__name__} is disabled, because it raised an exception; the sweep continues\n"
                    f"{traceback.format_exc()}",
                    stacklevel=2,
                )


def _dispatch(callback: Callback, state: SweepState, event: Event) -> None:
    if event.type in ("sweep.completed", "sweep.paused"):
        callback.on_sweep_end(event.type.removeprefix("sweep."), str(event["reason"]))
        return
    trial = state.trials.get(event.fields.get("trial", -1))
    if trial is None:
        return
    if event.type == "segment.started" and event["segment"] == 0:
        callback.on_trial_start(trial_info(state, trial))
    elif event.type == "segment.reported":
        callback.on_trial_report(trial_info(state, trial))
    elif event.type.startswith("trial.") and trial.status in ENDED:
        callback.on_trial_end(trial_info(state, trial))
