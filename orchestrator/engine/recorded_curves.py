"""Recorded learning curves to try other searches on: a sweep's journal, or a table of trainings."""

from __future__ import annotations

import bisect
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
from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.progress import EPOCHS, counted
from orchestrator.spec import from_mapping
from orchestrator.spec.progress_section import with_end
from orchestrator.state import Objective, SweepState, Trial

TABLE_TRIALS = 100
"""Trials of a search on a table, by default."""


Reports = Mapping[float, Mapping[str, float]]
"""Metrics by progress, in order: the objective and what is constrained."""


@dataclass
class Recorded:
    """Configurations that were trained, some under several seeds, some not to their end.

    A suggestion has the curve of the nearest configuration: it reports where that one did, and past the curve's end,
    where its last value stays, at the same distances.

    Args:
        spec: the recorded search.
        objective: what it optimized.
        configurations: parameters of each configuration.
        curves: the reports, by configuration and seed.
        unit: of progress.
        rates: seconds for one of the unit, by configuration; None if not recorded.
        notes: limits of the curves, for the reader.
        past_end: how often a report past the end of a curve was read.
    """

    spec: Mapping[str, Any]
    objective: Objective
    configurations: Sequence[Mapping[str, Any]]
    curves: Sequence[Sequence[Reports]]
    unit: str = EPOCHS
    rates: Sequence[float] | None = None
    notes: list[str] = field(default_factory=list)
    past_end: int = 0

    def __post_init__(self) -> None:
        self._table = Table(self.configurations)
        reports = (metrics for curves in self.curves for curve in curves for metrics in curve.values())
        losses = (self.objective.loss(self.objective.value(metrics)) for metrics in reports)
        self.best = min(filter(math.isfinite, losses), default=math.inf)
        self._places: dict[int, list[float]] = {}  # of a curve, by its id

    def metrics(self, params: Mapping[str, Any], progress: float) -> dict[str, float]:
        """Return the metrics of a trial of these parameters at a progress, interpolated between two reports."""
        curve = self._curve(params)
        places, rounding = self._reported(curve), 1e-6 * max(1.0, progress)
        after = bisect.bisect_left(places, progress - rounding)
        self.past_end += after == len(places)
        later = curve[places[min(after, len(places) - 1)]]
        if after in (0, len(places)) or places[after] <= progress + rounding:
            return dict(later)
        earlier, share = curve[places[after - 1]], (progress - places[after - 1]) / (places[after] - places[after - 1])
        return {name: _between(earlier.get(name, math.nan), value, share) for name, value in later.items()}

    def place(self, params: Mapping[str, Any], number: int) -> float:
        """Return the progress of the n-th report (from 1) of a trial of these parameters."""
        places = self._reported(self._curve(params))
        if number <= len(places):
            return places[number - 1]
        distances = [later - earlier for earlier, later in pairwise([0, *places])]
        return places[-1] + (number - len(places)) * median(distances)

    def rate(self, params: Mapping[str, Any]) -> float | None:
        """Return the seconds for one of the unit; None if not recorded."""
        return None if self.rates is None else self.rates[self._nearest(params)]

    def _curve(self, params: Mapping[str, Any]) -> Reports:
        curves, seed = self.curves[self._nearest(params)], int(params.get("repeat", 0))
        return curves[seed % len(curves)]

    def _nearest(self, params: Mapping[str, Any]) -> int:
        return self._table.nearest({name: value for name, value in params.items() if name != "repeat"})

    def _reported(self, curve: Reports) -> list[float]:
        if id(curve) not in self._places:
            self._places[id(curve)] = list(curve)
        return self._places[id(curve)]


def _between(earlier: float, later: float, share: float) -> float:
    """Return the value at a share of the way; the later one if the earlier is not finite."""
    return earlier + (later - earlier) * share if math.isfinite(earlier) and math.isfinite(later) else later


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
    rates = [rate for trial in trials if (rate := _rate(trial))]
    usual = median(rates) if rates else 1.0
    return Recorded(
        _simulated_spec(state, max(trial.progress for trial in trials)),
        objective,
        [trial.params for trial in firsts],
        curves,
        state.unit,
        [_rate(trial) or usual for trial in firsts],
        _notes(state, trials, len(firsts)),
    )


def _notes(state: SweepState, trials: Sequence[Trial], configurations: int) -> list[str]:
    short = sum(trial.status != "finished" for trial in trials)
    left_out = len(state.trials) - len(trials)
    notes = [f"every suggestion takes the curve of the nearest of {counted(configurations, 'configuration')}"]
    if short:
        notes.append(
            f"{short} of {len(trials)} curves end early, where the trial stopped or waits: one that continues there "
            "costs its training and stays at its last value (column past end: the share of such reports)"
        )
    if left_out:
        notes.append(f"left out: {counted(left_out, 'trial')} that failed or reported nothing")
    return notes


def _curve(trial: Trial, metrics: Sequence[str]) -> Reports:
    return {at: {name: trial.value(at, name) for name in metrics} for at in sorted(trial.reports)}


def _rate(trial: Trial) -> float | None:
    """Return the seconds for one of the unit, the median over the pairs of reports of a segment; None if unknown."""
    reports = sorted(trial.reports.items())
    rates = [
        max(0.0, after.steady_time - before.steady_time) / (later - earlier)
        for (earlier, before), (later, after) in pairwise(reports)
        if before.segment == after.segment
    ]
    if rates:
        return median(rates)
    place, first = reports[0]
    return max(0.0, first.steady_time - trial.steady_started) / place or None if place else None


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
        {**from_mapping(spec).model_dump(mode="json"), **_CHECKPOINTS},
        Objective("valid", "min"),
        [{f"model.{name}": float(x) for name, x in zip(names, row, strict=True)} for row in points],
        [[{epoch: {"valid": loss} for epoch, loss in enumerate(row, 1)}] for row in losses.astype(float).tolist()],
        notes=[f"every suggestion takes the curve of the nearest of {counted(len(losses), 'configuration')}"],
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


_CHECKPOINTS = {"checkpoints": {"keep_top": 1}}  # as few as possible, since each is simulated, too


def _simulated_spec(state: SweepState, furthest: float) -> dict[str, Any]:
    """Return the spec for the simulator, which must know where trials end: else where the longest ended."""
    spec = dict(state.spec)
    if recorded_horizon(state) is None:
        spec = with_end(spec, state.unit, furthest)
    return {**spec, **_CHECKPOINTS}
