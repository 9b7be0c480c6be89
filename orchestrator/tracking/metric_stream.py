"""What a tracker is told of a trial: its epochs as the journal has them, and the steps between them.

An epoch that was trained twice, since its process died before it could report, is told once: its steps are those of
the segment whose report the journal holds.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.state import SweepState, Trial

STEP = "trainer/global_step"  # as Lightning's own loggers name it


@dataclass(frozen=True)
class Point:
    """Values logged together: those of a whole epoch (counted from 1), or of one training step in it."""

    epoch: int
    step: int | None
    values: dict[str, float]
    of_epoch: bool


def points(run: RunDirectory, trial: Trial, objective: str, told: Iterable[int] = ()) -> list[Point]:
    """The points of all reported epochs but those that were ``told`` already, in order.

    A metric of which an epoch logged several values has each of them at its step. An epoch's own point has all others,
    and ``objective`` always.
    """
    fresh = sorted(set(trial.reports) - set(told))
    return [point for epoch in fresh for point in _of_epoch(run, trial, objective, epoch)]


def _of_epoch(run: RunDirectory, trial: Trial, objective: str, epoch: int) -> list[Point]:
    report = trial.reports[epoch]
    table = (run.trial(trial.number) / f"logs/segment_{report.segment}/metrics.csv").relative_to(run.root)
    logged = _logged(run.fetch(table.as_posix())).get(epoch, [])
    last = report.metrics
    several = {name for _, values in logged for name, value in values.items() if not _same(value, last.get(name))}

    def own(name: str, value: float) -> bool:
        return name == objective and _same(value, last.get(name))  # it is in the epoch's point

    steps = []
    for step, values in logged:
        more = {name: value for name, value in values.items() if name in several and not own(name, value)}
        if more:
            steps.append(Point(epoch, step, more, of_epoch=False))
    rest = {name: value for name, value in last.items() if name == objective or name not in several}
    return [*steps, Point(epoch, logged[-1][0] if logged else None, rest, of_epoch=True)]


def _logged(file: Path) -> dict[int, list[tuple[int, dict[str, float]]]]:
    """Steps with what was logged at them, by epoch, from 1. Empty where there is no such file, or it is damaged."""
    found: dict[int, list[tuple[int, dict[str, float]]]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines):
                step, epoch = int(line.pop("step")), line.pop("epoch")
                values = {name: float(value) for name, value in line.items() if value}
                if epoch:
                    found.setdefault(int(float(epoch)) + 1, []).append((step, values))
    except (OSError, ValueError, TypeError, KeyError):
        return found
    return found


def _same(one: float, other: float | None) -> bool:
    return other is not None and (one == other or (math.isnan(one) and math.isnan(other)))


def config(state: SweepState, trial: Trial, params: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Parameters (those that the trial has now, unless told) under their own names, and what tells it from others."""
    plain = {name: _plain(value) for name, value in (params or trial.params).items()}
    return plain | {
        "trial": trial.number,
        "seed": trial_seed(state.created["seed"], trial.number),
        "searcher": trial.by,
    }


def _plain(value: object) -> object:
    """Text that others wrote, without keys and passwords."""
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def summary(state: SweepState, trial: Trial) -> dict[str, object]:
    """The values of its best epoch, and how it ended."""
    best = state.objective.best(trial)
    found: dict[str, object] = {"status": trial.status, "epochs": trial.epoch}
    if best:
        found |= {**trial.reports[best.epoch].metrics, "best_epoch": best.epoch, "epoch": trial.epoch}
    if trial.stopped_by:
        found["stopped_by"] = str(trial.stopped_by["rule"])
    if trial.failures:
        found["error"] = trial.failures[-1].message
    return found


def tags(trial: Trial) -> list[str]:
    """Its status, and the rule that stopped it."""
    return [trial.status, *([f"by {trial.stopped_by['rule']}"[:64]] if trial.stopped_by else [])]
