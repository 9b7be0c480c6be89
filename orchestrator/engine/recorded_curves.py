"""Recorded learning curves to try other searches on: a sweep's journal, or a table of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from orchestrator.engine.learning_curves import Table
from orchestrator.errors import UsageError
from orchestrator.spec import from_mapping
from orchestrator.state import Objective, SweepState, Trial

TABLE_TRIALS = 100
"""Trials of a search on a table, by default."""


@dataclass
class Recorded:
    """Configurations that were trained, some under several seeds, some not to their end.

    A suggestion has the curve of the nearest configuration and, past the curve's end, its last value.

    Args:
        spec: the recorded search.
        objective: what it optimized.
        configurations: parameters of each configuration.
        curves: by configuration and seed, the metrics at each epoch: the objective and what is constrained.
        durations: seconds of an epoch, by configuration; None if not recorded.
        notes: limits of the curves, for the reader.
        past_end: how often an epoch past the end of a curve was read.
    """

    spec: Mapping[str, Any]
    objective: Objective
    configurations: Sequence[Mapping[str, Any]]
    curves: Sequence[Sequence[Sequence[Mapping[str, float]]]]
    durations: Sequence[float] | None = None
    notes: list[str] = field(default_factory=list)
    past_end: int = 0

    def __post_init__(self) -> None:
        self._table = Table(self.configurations, {})
        reports = (metrics for curves in self.curves for curve in curves for metrics in curve)
        losses = (self.objective.loss(self.objective.value(metrics)) for metrics in reports)
        self.best = min(filter(math.isfinite, losses), default=math.inf)

    def curve(self, params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        """Return the metrics of a trial of these parameters at that epoch."""
        seed, params = params.get("repeat", 0), {name: params[name] for name in params if name != "repeat"}
        curves = self.curves[self._table.nearest(params)]
        curve = curves[seed % len(curves)]
        self.past_end += epoch > len(curve)
        return dict(curve[min(epoch, len(curve)) - 1])

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """Return the seconds of that epoch; 1.0 if not recorded."""
        if self.durations is None:
            return 1.0
        return self.durations[self._table.nearest({name: params[name] for name in params if name != "repeat"})]


def of_sweep(name: str, state: SweepState) -> Recorded:
    """Return the curves of a sweep's trials.

    Raises:
        UsageError: Fewer than two configurations have reported.
    """
    objective = state.objective
    trials = [t for t in state.trials.values() if t.status != "failed" and t.reports]
    first = {trial.configuration: trial for trial in reversed(trials)}
    firsts = [first[number] for number in sorted(first)]
    if len(firsts) < 2:
        raise UsageError(f"{name!r} has fewer than two configurations with a curve", hint="wait for more reports")
    seeds = [[t for t in trials if t.configuration == number] for number in sorted(first)]
    curves = [[_curve(trial, objective.metrics) for trial in group] for group in seeds]
    durations = [seconds for trial in trials if (seconds := _seconds(trial))]
    usual = median(durations) if durations else 1.0
    return Recorded(
        _simulated_spec(state.spec, max(trial.progress for trial in trials)),
        objective,
        [trial.params for trial in firsts],
        curves,
        [_seconds(trial) or usual for trial in firsts],
        _notes(state, trials, len(firsts)),
    )


def _notes(state: SweepState, trials: Sequence[Trial], configurations: int) -> list[str]:
    short = sum(trial.status != "finished" for trial in trials)
    left_out = len(state.trials) - len(trials)
    notes = [f"every suggestion takes the curve of the nearest of {configurations} configurations"]
    if short:
        notes.append(
            f"{short} of {len(trials)} curves end early, where the sweep stopped the trial: one that continues there "
            "costs its epochs and stays at its last value (column past end: the share of such epochs)"
        )
    if left_out:
        notes.append(f"{left_out} trials that failed or reported nothing are left out")
    return notes


def _curve(trial: Trial, metrics: Sequence[str]) -> list[dict[str, float]]:
    return [{name: trial.value(epoch, name) for name in metrics} for epoch in sorted(trial.reports)]


def _seconds(trial: Trial) -> float | None:
    """Return the median seconds from one report of a segment to its next; None if unknown."""
    reports = [trial.reports[epoch] for epoch in sorted(trial.reports)]
    intervals = [
        max(0.0, after.steady_time - before.steady_time)
        for before, after in pairwise(reports)
        if before.segment == after.segment
    ]
    if intervals:
        return median(intervals)
    return max(0.0, reports[0].steady_time - trial.steady_started) or None


def of_table(file: Path, task: str | None) -> Recorded:
    """Return the curves of a NumPy file.

    ``<task>/valid`` holds losses (configurations × epochs), ``<task>/params`` parameters (configurations ×
    parameters), ``param_names`` optionally their names. A parameter's coordinate is its quantile in the table, so any
    range and scale will do.

    Raises:
        UsageError: The file is no such table.
    """
    names, losses, params = _read(file, task)
    ranks = np.argsort(np.argsort(params, axis=0, kind="stable"), axis=0, kind="stable")
    points = (ranks + 0.5) / len(params)
    spec: dict[str, Any] = {
        "name": "table",
        "objective": {"metric": "valid", "mode": "min"},
        "model": "table.Table",
        "trainer": {"max_epochs": losses.shape[1]},
        "space": {f"model.{name}": {"uniform": [0.0, 1.0]} for name in names},
        "budget": {"trials": TABLE_TRIALS},
    }
    return Recorded(
        _simulated_spec(from_mapping(spec).model_dump(mode="json"), losses.shape[1]),
        Objective("valid", "min"),
        [{f"model.{name}": float(x) for name, x in zip(names, row, strict=True)} for row in points],
        [[[{"valid": loss} for loss in row]] for row in losses.astype(float).tolist()],
        notes=[f"every suggestion takes the curve of the nearest of {len(losses)} configurations"],
    )


def _read(file: Path, task: str | None) -> tuple[list[str], Any, Any]:
    """Return a task's parameter names, losses and parameters."""
    try:
        with np.load(file) as table:
            tasks = [key.removesuffix("/valid") for key in table.files if key.endswith("/valid")]
            if task is None and len(tasks) == 1:
                task = tasks[0]
            if task not in tasks:
                problem = f"has no task {task!r}" if task and tasks else f"holds {len(tasks)} tasks"
                raise UsageError(f"{file} {problem}", hint=f"--task {' | '.join(tasks)}" if tasks else _FORM)
            losses, params = table[f"{task}/valid"], table[f"{task}/params"]
            names = table["param_names"].tolist() if "param_names" in table.files else []
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UsageError(f"{file} cannot be read as a table: {error}", hint=_FORM) from error
    if losses.ndim != 2 or params.ndim != 2 or len(losses) != len(params) or min(losses.shape + params.shape) < 1:
        raise UsageError(f"{file} has {losses.shape} losses for {params.shape} parameters", hint=_FORM)
    if len(names) != params.shape[1]:
        names = [f"p{number}" for number in range(params.shape[1])]
    return names, losses, params


_FORM = "<task>/valid holds configurations x epochs, <task>/params configurations x parameters"


def _simulated_spec(spec: Mapping[str, Any], epochs: float) -> dict[str, Any]:
    """Return the spec for the simulator: with a number of epochs, and as few checkpoints as possible."""
    trainer = dict(spec.get("trainer", {}))
    limit = trainer.get("max_epochs")
    if not isinstance(limit, int) or limit < 1:
        trainer["max_epochs"] = epochs
    return {**spec, "trainer": trainer, "checkpoints": {"keep_top": 1}}
