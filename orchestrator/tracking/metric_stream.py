"""A trial's metrics for trackers: epochs from the journal, training steps from the segments' CSV files.

An epoch is streamed once, even if it was trained twice because a process died before its report. Its steps are those of
the segment whose report is in the journal.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.codec import display
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.state import SweepState, Trial

STEP = "trainer/global_step"  # the name in Lightning's own loggers


@dataclass(frozen=True)
class Point:
    """Values logged together.

    Attributes:
        progress: The report's, in the sweep's unit.
        epoch: The epochs trained.
        step: The global training step, if it was logged.
        values: Metrics by name.
        of_epoch: Whether these are the epoch's own values, not those of one step in it.
    """

    progress: float
    epoch: float
    step: int | None
    values: dict[str, float]
    of_epoch: bool


def points(run: RunDirectory, trial: Trial, objective: str, skip: Iterable[float] = ()) -> list[Point]:
    """Return the points of all reported epochs, in order, without the epochs in ``skip``.

    If an epoch logged several values of a metric, each is in the point of its step. All other metrics, and always
    ``objective``, are in the epoch's own point.
    """
    new = sorted(set(trial.reports) - set(skip))
    return [point for progress in new for point in _epoch_points(run, trial, objective, progress)]


def _epoch_points(run: RunDirectory, trial: Trial, objective: str, progress: float) -> list[Point]:
    report = trial.reports[progress]
    epoch = report.epoch
    table = (run.trial(trial.number) / f"logs/segment_{report.segment}/metrics.csv").relative_to(run.root)
    rows = _rows_by_epoch(run.fetch(table.as_posix())).get(math.ceil(epoch), [])
    reported = report.metrics
    per_step = {name for _, values in rows for name, value in values.items() if not _equal(value, reported.get(name))}

    def in_epoch_point(name: str, value: float) -> bool:
        return name == objective and _equal(value, reported.get(name))

    steps = []
    for step, logged in rows:
        values = {name: value for name, value in logged.items() if name in per_step and not in_epoch_point(name, value)}
        if values:
            steps.append(Point(progress, epoch, step, values, of_epoch=False))
    own = {name: value for name, value in reported.items() if name == objective or name not in per_step}
    return [*steps, Point(progress, epoch, rows[-1][0] if rows else None, own, of_epoch=True)]


def _rows_by_epoch(file: Path) -> dict[int, list[tuple[int, dict[str, float]]]]:
    """Return step and values of each row, by epoch from 1; the rows up to a damage, none if there is no file."""
    rows: dict[int, list[tuple[int, dict[str, float]]]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines):
                step, epoch = int(line.pop("step")), line.pop("epoch")
                values = {name: float(value) for name, value in line.items() if value}
                if epoch:
                    rows.setdefault(int(float(epoch)) + 1, []).append((step, values))
    except (OSError, ValueError, TypeError, KeyError):
        return rows
    return rows


def _equal(left: float, right: float | None) -> bool:
    """Return whether two values are equal, or both NaN."""
    return right is not None and (left == right or (math.isnan(left) and math.isnan(right)))


def config(state: SweepState, trial: Trial, params: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Return the parameters (by default the trial's present ones) by name, with trial number, seed and searcher."""
    plain = {name: _plain(value) for name, value in (params or trial.params).items()}
    return plain | {
        "trial": trial.number,
        "seed": trial_seed(state.created["seed"], trial.number),
        "searcher": trial.by,
    }


def _plain(value: object) -> object:
    """Return a JSON scalar unchanged, anything else as text."""
    value = display(value)
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def summary(state: SweepState, trial: Trial) -> dict[str, object]:
    """Return the metrics of the trial's best epoch, and how it ended."""
    best = state.objective.best(trial)
    values: dict[str, object] = {"status": trial.status, "epochs": trial.epoch}
    if best:
        values |= {
            **trial.reports[best.progress].metrics,
            "best_epoch": trial.reports[best.progress].epoch,
            "epoch": trial.epoch,
        }
    if trial.stopped_by:
        values["stopped_by"] = str(trial.stopped_by["rule"])
    if trial.failures:
        values["error"] = trial.failures[-1].message
    return values


def tags(trial: Trial) -> list[str]:
    """Return the trial's status, and the rule that stopped it."""
    return [trial.status, *([f"by {trial.stopped_by['rule']}"[:64]] if trial.stopped_by else [])]
