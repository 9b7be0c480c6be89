"""Curves that are on record, to try other searches on: those of a sweep's journal, or of a table of trainings."""

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
"""Trials of a search on a table, unless somebody says otherwise."""


@dataclass
class Recorded:
    """Configurations that were trained, some under several seeds, some not to their end.

    As a curve it answers with the nearest configuration's, and past a curve's end with what it ended on; ``past_end``
    counts how often it was asked for that. ``spec`` is the search as it was, ``best`` the best loss on record, and
    ``notes`` say what the curves cannot tell.
    """

    spec: Mapping[str, Any]
    objective: Objective
    configurations: Sequence[Mapping[str, Any]]
    curves: Sequence[Sequence[Sequence[Mapping[str, float]]]]
    """Of each configuration and seed the metrics at each epoch: the objective and what is constrained."""
    durations: Sequence[float] | None = None
    """Seconds of an epoch, of each configuration."""
    notes: list[str] = field(default_factory=list)
    past_end: int = 0

    def __post_init__(self) -> None:
        self._table = Table(self.configurations, {})
        told = (metrics for curves in self.curves for curve in curves for metrics in curve)
        losses = (self.objective.loss(self.objective.value(metrics)) for metrics in told)
        self.best = min(filter(math.isfinite, losses), default=math.inf)

    def curve(self, params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        """What a trial of these parameters reports at that epoch."""
        seed, params = params.get("repeat", 0), {name: params[name] for name in params if name != "repeat"}
        curves = self.curves[self._table.nearest(params)]
        told = curves[seed % len(curves)]
        self.past_end += epoch > len(told)
        return dict(told[min(epoch, len(told)) - 1])

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """How long that epoch takes; one second where nobody measured it."""
        if self.durations is None:
            return 1.0
        return self.durations[self._table.nearest({name: params[name] for name in params if name != "repeat"})]


def of_sweep(name: str, state: SweepState) -> Recorded:
    """The curves of a sweep's trials, as its journal has them.

    Raises UsageError where fewer than two configurations have reported anything.
    """
    objective = state.objective
    trials = [t for t in state.trials.values() if t.status != "failed" and t.reports]
    first = {trial.configuration: trial for trial in reversed(trials)}
    firsts = [first[number] for number in sorted(first)]
    if len(firsts) < 2:
        raise UsageError(f"{name!r} has fewer than two configurations with a curve", hint="let it run a while")
    seeds = [[t for t in trials if t.configuration == number] for number in sorted(first)]
    curves = [[_curve(trial, objective.metrics) for trial in group] for group in seeds]
    known = [seconds for trial in trials if (seconds := _seconds(trial))]
    usual = median(known) if known else 1.0
    return Recorded(
        _calm(state.spec, max(trial.epoch for trial in trials)),
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
            f"{short} of {len(trials)} curves end early, where the sweep stopped the trial: one that goes on there "
            "costs its epochs and stays at its last value (column past end: the share of such epochs)"
        )
    if left_out:
        notes.append(f"{left_out} trials that failed or reported nothing are left out")
    return notes


def _curve(trial: Trial, metrics: Sequence[str]) -> list[dict[str, float]]:
    return [{name: trial.value(epoch, name) for name in metrics} for epoch in sorted(trial.reports)]


def _seconds(trial: Trial) -> float | None:
    """The median time from one report of a segment to its next; None where there is none."""
    reports = [trial.reports[epoch] for epoch in sorted(trial.reports)]
    apart = [
        max(0.0, after.time - before.time) for before, after in pairwise(reports) if before.segment == after.segment
    ]
    if apart:
        return median(apart)
    return max(0.0, reports[0].time - trial.started) or None


def of_table(file: Path, task: str | None) -> Recorded:
    """The curves of a NumPy file: ``<task>/valid`` (configurations × epochs) and ``<task>/params`` (× parameters).

    The values are losses. A parameter's coordinate is its quantile in the table, so any range or scale will do.
    ``param_names`` may name the parameters. Raises UsageError where the file is no such table.
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
        _calm(from_mapping(spec).model_dump(mode="json"), losses.shape[1]),
        Objective("valid", "min"),
        [{f"model.{name}": float(x) for name, x in zip(names, row, strict=True)} for row in points],
        [[[{"valid": loss} for loss in row]] for row in losses.astype(float).tolist()],
        notes=[f"every suggestion takes the curve of the nearest of {len(losses)} configurations"],
    )


def _read(file: Path, task: str | None) -> tuple[list[str], Any, Any]:
    """Names of the parameters, losses and parameters of a task."""
    try:
        with np.load(file) as table:
            tasks = [key.removesuffix("/valid") for key in table.files if key.endswith("/valid")]
            if task is None and len(tasks) == 1:
                task = tasks[0]
            if task not in tasks:
                what = f"has no task {task!r}" if task and tasks else f"holds {len(tasks)} tasks"
                raise UsageError(f"{file} {what}", hint=f"--task {' | '.join(tasks)}" if tasks else _FORM)
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


def _calm(spec: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The spec for the simulator: with a number of epochs, and as few checkpoints as will do."""
    trainer = dict(spec.get("trainer", {}))
    limit = trainer.get("max_epochs")
    if not isinstance(limit, int) or limit < 1:
        trainer["max_epochs"] = epochs
    return {**spec, "trainer": trainer, "checkpoints": {"keep_top": 1}}
