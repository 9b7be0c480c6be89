"""A trial's metrics for trackers: reports from the journal, training steps from the segments' CSV files.

A report is streamed once, even if it was trained twice because a process died before it. Its steps are those since the
report before, of the segment whose report is in the journal.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.codec import display
from orchestrator.progress import EPOCHS, noun
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
        of_report: Whether these are the report's own values, not those of one step before it.
    """

    progress: float
    epoch: float
    step: int | None
    values: dict[str, float]
    of_report: bool


def points(run: RunDirectory, trial: Trial, objective: str, skip: Iterable[float] = ()) -> list[Point]:
    """Return the points of all reports, in order, without those whose progress is in ``skip``.

    If several values of a metric were logged since the report before, each is in the point of its step. All other
    metrics, and always ``objective``, are in the report's own point.
    """
    new = sorted(set(trial.reports) - set(skip))
    return [point for progress in new for point in _points_of(run, trial, objective, progress)]


def integer_steps(state: SweepState, trial: Trial) -> dict[float, int]:
    """Return a whole number for each report, by its progress, for trackers whose axis takes nothing else.

    It is the epoch where progress is in epochs and every report of the sweep is at the end of one, as the spec says;
    else the optimizer step. It increases from report to report, and stays what it is when others follow.
    """
    by_epoch, last, steps = _reports_whole_epochs(state), -1, {}
    for number, progress in enumerate(sorted(trial.reports), 1):
        step = math.ceil(progress) if by_epoch else trial.reports[progress].step or number
        last = steps[progress] = max(step, last + 1)
    return steps


def _reports_whole_epochs(state: SweepState) -> bool:
    trainer, every = state.spec.get("trainer") or {}, (state.spec.get("progress") or {}).get("every")
    whole = every is None or float(every).is_integer()
    per_epoch = trainer.get("val_check_interval") in (None, 1.0) and trainer.get("check_val_every_n_epoch", 1)
    return bool(state.unit == EPOCHS and whole and per_epoch)


def _points_of(run: RunDirectory, trial: Trial, objective: str, progress: float) -> list[Point]:
    report = trial.reports[progress]
    epoch = report.epoch
    rows = _rows_since(run, trial, progress)
    reported = report.metrics
    per_step = {name for _, values in rows for name, value in values.items() if not _equal(value, reported.get(name))}

    def in_own_point(name: str, value: float) -> bool:
        return name == objective and _equal(value, reported.get(name))

    steps = []
    for step, logged in rows:
        values = {name: value for name, value in logged.items() if name in per_step and not in_own_point(name, value)}
        if values:
            steps.append(Point(progress, epoch, step, values, of_report=False))
    own = {name: value for name, value in reported.items() if name == objective or name not in per_step}
    return [*steps, Point(progress, epoch, rows[-1][0] if rows else None, own, of_report=True)]


def _rows_since(run: RunDirectory, trial: Trial, progress: float) -> list[tuple[int, dict[str, float]]]:
    """Return step and values of each row of a report's epoch, from the report before up to this one."""
    report = trial.reports[progress]
    table = (run.trial(trial.number) / f"logs/segment_{report.segment}/metrics.csv").relative_to(run.root)
    rows = _rows_by_epoch(run.fetch(table.as_posix())).get(math.ceil(report.epoch), [])
    before = [earlier for place, earlier in trial.reports.items() if place < progress]
    first = max((earlier.step for earlier in before if math.ceil(earlier.epoch) == math.ceil(report.epoch)), default=0)
    if report.epoch == int(report.epoch):
        return [row for row in rows if row[0] >= first]
    return [row for row in rows if first <= row[0] < report.step]


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
    """Return the metrics of the trial's best report, and how it ended."""
    best = state.objective.best(trial)
    values: dict[str, object] = {"status": trial.status, "epochs": trial.epoch, noun(state.unit): trial.progress}
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
