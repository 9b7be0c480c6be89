"""MLflow: one run for each trial, nested in one for the sweep. Reports that the server has are not sent again."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from orchestrator.extras import require
from orchestrator.rundir import RunDirectory
from orchestrator.spec.parts import Part
from orchestrator.state import ENDED, SweepState, Trial
from orchestrator.tracking.metric_stream import Point, config, integer_steps, points, summary
from orchestrator.tracking.tracker import Tracker
from orchestrator.training.job import Job, tracking_options
from orchestrator.training.loggers import IMPATIENT, MLFLOW_TAG

_REST_SECONDS = (5.0, 300.0)
_BATCH = 1000  # metrics in one call, at most
_FORBIDDEN = re.compile(r"[^\w/. -]", re.ASCII)
_TEXT = 500  # characters that every version of the server takes


class MlflowTracking(Part):
    """MLflow."""

    tracking_uri: str | None = Field(
        default=None,
        description="The server, or a folder; else MLFLOW_TRACKING_URI, else mlruns in the run directory.",
        examples=["http://localhost:5000"],
    )
    experiment: str | None = Field(
        default=None, min_length=1, description="The experiment; else the sweep's name.", examples=["cifar10"]
    )


class Mlflow(Tracker):
    """MLflow. It uploads at once; while the server does not answer, each pause is twice the last."""

    name = "mlflow"
    summary = "Log to MLflow; true will do."
    Options = MlflowTracking
    examples = ({"tracking_uri": "http://localhost:5000"},)
    uploads = True

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        os.environ.update(IMPATIENT)
        self._run = run
        self._client: Any = None
        self._runs: dict[str, str] = {}  # our ids of runs → MLflow's
        self._sent: dict[str, set[float]] = {}  # the reports that the server has, by our id
        self._status: dict[str, str] = {}
        self._rest, self._next = _REST_SECONDS[0], 0.0
        self._complete = False

    def follow(self, state: SweepState, *, ended: bool) -> None:
        """Upload what is new, unless a failed upload requires a pause."""
        if not ended and time.monotonic() < self._next:
            return
        self._complete = False
        try:
            self._upload(state, ended)
        except Exception:
            # It is unknown what has arrived: read the server's reports again next time.
            self._sent, self._status, self._client = {}, {}, None
            self._next, self._rest = time.monotonic() + self._rest, min(2 * self._rest, _REST_SECONDS[1])
            raise
        self._rest, self._complete = _REST_SECONDS[0], True

    def settle(self) -> bool:
        """Return whether the last upload succeeded; `follow` uploads everything at the end."""
        return self._complete

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """Raise UsageError if MLflow is not installed."""
        require("mlflow", purpose="`tracking.mlflow`")

    @classmethod
    def with_defaults(cls, options: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
        """Return the options with the server's address and the experiment filled in."""
        uri = options["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI") or (run.root / "mlruns").as_uri()
        return {"tracking_uri": uri, "experiment": options["experiment"] or run.name}

    @classmethod
    def logger(cls, job: Job, options: dict[str, Any]) -> Any:
        """Return a logger that connects when the user's code uses it."""
        from orchestrator.training.loggers import mlflow

        return mlflow.logger(job, options)

    @classmethod
    def not_uploaded(cls, run: RunDirectory, command: str) -> str:
        """Return the command that sends the rest."""
        return f"MLflow has not received everything; to send the rest: {command}"

    def _upload(self, state: SweepState, ended: bool) -> None:
        options = state.spec["tracking"]["mlflow"]
        sweep = self._named(state, "sweep", options)
        if self._client is None:
            from mlflow.tracking import MlflowClient

            if sweep["tracking_uri"].startswith("file:"):  # MLflow 3.14 refuses a folder without it
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            self._client = MlflowClient(sweep["tracking_uri"])
        parent = self._find(sweep, {})
        for number, trial in list(state.trials.items()):
            self._follow_trial(state, trial, self._named(state, number, options), parent)
        if ended:
            self._end_sweep(state, parent)

    def _follow_trial(self, state: SweepState, trial: Trial, named: dict[str, Any], parent: str) -> None:
        id, status = named["id"], f"{trial.status} {trial.progress}"
        if self._status.get(id) == status:
            return
        run = self._find(named, {"mlflow.parentRunId": parent})
        sent, steps = self._sent.get(id), integer_steps(state, trial)
        if sent is None:
            on_server = self._server_steps(run, state.objective.metric)
            sent = self._sent[id] = {progress for progress, step in steps.items() if step in on_server}
            self._client.log_batch(run, params=list(_params(config(state, trial, trial.suggested))))
        for progress, group in _by_report(points(self._run, trial, state.objective.metric, sent)):
            self._send(run, group, int(1000 * trial.reports[progress].time), steps[progress])
            sent.add(progress)
        self._mark(run, state, trial, steps)
        self._status[id] = status

    def _send(self, run: str, group: list[Point], at: int, own: int) -> None:
        """Send a report's points, its own values last, so that their presence means that the report is complete."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_FORBIDDEN.sub("_", name), value, at, own if point.of_report else point.step or 0)
            for point in group
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + _BATCH])

    def _mark(self, run: str, state: SweepState, trial: Trial, steps: Mapping[float, int]) -> None:
        """Set the run's status to the trial's, and back to running if the trial is resumed."""
        ended = trial.status in ENDED
        for name, value in summary(state, trial).items():
            if name in ("status", "stopped_by", "error", "best_epoch"):
                self._client.set_tag(run, f"sweep.{name}", str(value)[:_TEXT])
        best = state.objective.best(trial)
        if ended and best:
            at = int(1000 * trial.reports[best.progress].time)
            name = _FORBIDDEN.sub("_", f"best_{state.objective.metric}")
            self._client.log_metric(run, name, best.value, timestamp=at, step=steps[best.progress])
        if ended:
            status = "FAILED" if trial.status == "failed" else "FINISHED"
            self._client.set_terminated(run, status, int(1000 * trial.ended))
        else:
            self._client.update_run(run, "RUNNING")

    def _end_sweep(self, state: SweepState, parent: str) -> None:
        best = state.winner()
        at = state.objective.best(best) if best else None
        tags = {"status": state.status, "reason": state.reason}
        if best and at:
            epoch = str(best.reports[at.progress].epoch)
            tags |= {"best_trial": str(best.number), "best_epoch": epoch, "best_value": repr(at.value)}
        for name, value in tags.items():
            self._client.set_tag(parent, f"sweep.{name}", value[:_TEXT])
        self._client.set_terminated(parent, "FINISHED" if state.status == "completed" else "KILLED")

    def _find(self, named: dict[str, Any], tags: dict[str, str]) -> str:
        """Return MLflow's id of a run, which is created if it does not exist."""
        id = named["id"]
        if id not in self._runs:
            experiment = self._experiment(named["experiment"])
            runs = self._client.search_runs([experiment], f"tags.`{MLFLOW_TAG}` = '{id}'", max_results=1)
            if not runs:
                own = {MLFLOW_TAG: id, "sweep": named["group"]}
                runs = [self._client.create_run(experiment, run_name=named["name"], tags=own | tags)]
            for name in tags.keys() - runs[0].data.tags.keys():  # the trial's own code has created it
                self._client.set_tag(runs[0].info.run_id, name, tags[name])
            self._runs[id] = runs[0].info.run_id
        return self._runs[id]

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def _server_steps(self, run: str, metric: str) -> set[int]:
        return {point.step for point in self._client.get_metric_history(run, _FORBIDDEN.sub("_", metric))}

    def _named(self, state: SweepState, trial: int | str, options: dict[str, Any]) -> dict[str, Any]:
        return tracking_options({"mlflow": options}, self._run, state.started, trial)["mlflow"]


def _params(config: dict[str, object]) -> Iterator[Any]:
    from mlflow.entities import Param

    for name, value in config.items():
        yield Param(_FORBIDDEN.sub("_", name), str(value)[:_TEXT])


def _by_report(points: list[Point]) -> Iterator[tuple[float, list[Point]]]:
    for progress in sorted({point.progress for point in points}):
        yield progress, [point for point in points if point.progress == progress]
