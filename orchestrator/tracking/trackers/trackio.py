"""Trackio: a run for each trial in its local database, which `trackio show` displays; no server and no network.

Each point has an id of its own, and Trackio ignores a point whose id it has. So a sweep may be killed and resumed, or
sent again, and every point arrives once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from orchestrator.extras import require
from orchestrator.rundir import RunDirectory
from orchestrator.spec.parts import Part
from orchestrator.state import SweepState, Trial
from orchestrator.tracking.metric_stream import STEP, Point, config, integer_steps, points, summary
from orchestrator.tracking.tracker import Tracker
from orchestrator.training.job import tracking_options

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class TrackioTracking(Part):
    """Trackio."""

    project: str | None = Field(
        default=None, min_length=1, description="The project; else the run's name.", examples=["cifar10"]
    )
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of Trackio's databases; else TRACKIO_DIR, else Trackio's own, where `trackio show` looks.",
        examples=["./trackio"],
    )


class Trackio(Tracker):
    """Trackio's local database."""

    name = "trackio"
    summary = "Log to Trackio's local database; true will do."
    Options = TrackioTracking
    examples = (True, {"project": "cifar10"})
    uploads = True

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        self._run = run
        self._written: dict[int, str] = {}  # what was written last of each trial
        self._sent: dict[int, set[float]] = {}  # the reports that were written, by trial
        self._complete = False

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """Raise UsageError if Trackio is not installed."""
        require("trackio", purpose="`tracking.trackio`")

    @classmethod
    def with_defaults(cls, options: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
        """Return the options with the project filled in."""
        return {**options, "project": options["project"] or run.name}

    def follow(self, state: SweepState, *, ended: bool) -> None:
        """Write the reports that are new, and how trials have ended."""
        self._complete = False
        for number, trial in list(state.trials.items()):
            self._follow_trial(state, number, trial)
        self._complete = True

    def settle(self) -> bool:
        """Return whether the last round has written everything."""
        return self._complete

    def _follow_trial(self, state: SweepState, number: int, trial: Trial) -> None:
        now = f"{trial.status} {trial.progress} {len(trial.reports)}"
        if not trial.reports or self._written.get(number) == now:
            return
        named = tracking_options({"trackio": state.spec["tracking"]["trackio"]}, self._run, state.started, number)
        options = named["trackio"]
        sent = self._sent.setdefault(number, set())
        last = max(trial.reports)
        rows = list(_rows(state, trial, points(self._run, trial, state.objective.metric, sent - {last}), options["id"]))
        ids, values, steps, times = zip(*rows, strict=True)
        about = {**config(state, trial, trial.suggested), **summary(state, trial), "_Group": options["group"],
                 "_Created": _time(trial.reports[min(trial.reports)].time)}  # fmt: skip
        _storage(options["folder"]).bulk_log(
            options["project"], options["name"], list(values), steps=list(steps), timestamps=list(times),
            config=about, log_ids=list(ids), run_id=options["id"],
        )  # fmt: skip
        sent |= set(trial.reports)
        self._written[number] = now


def _rows(state: SweepState, trial: Trial, new: list[Point], id: str) -> Iterator[tuple[str, dict[str, Any], int, str]]:
    """Yield id, values, step and time of each point. The last report is always among them: it carries the config."""
    own = integer_steps(state, trial)
    for point in new:
        kind = "report" if point.of_report else f"step-{point.step}"
        values: dict[str, Any] = dict(point.values)
        if point.step is not None:
            values[STEP] = point.step
        # A step within an epoch stands at its report, whose axis may count epochs.
        yield f"{id}/{point.progress!r}/{kind}", values, own[point.progress], _time(trial.reports[point.progress].time)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _storage(folder: str | None) -> Any:
    """Return Trackio's storage, set to a folder before its first import."""
    for variable, value in _OFFLINE.items():
        os.environ.setdefault(variable, value)
    if folder:
        os.environ["TRACKIO_DIR"] = folder
    from trackio.sqlite_storage import SQLiteStorage  # type: ignore[import-not-found, unused-ignore]

    return SQLiteStorage
