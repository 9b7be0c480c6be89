"""What the journal says, folded: trials, reports, checkpoints, failures, the ranking. Pure: no clock, no file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.journal import Event

Status = Literal["running", "interrupted", "finished", "stopped", "failed"]
ENDED = frozenset({"finished", "stopped", "failed"})


@dataclass(frozen=True)
class Report:
    """One epoch's metrics. ``epoch`` counts finished epochs, from 1; ``time`` is Unix seconds, for people."""

    epoch: int
    metrics: dict[str, float]
    segment: int
    time: float


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint: ``path`` relative to the run directory, ``size`` in bytes."""

    epoch: int
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Failure:
    """Why a segment ended badly."""

    segment: int
    kind: str
    message: str
    fingerprint: str


@dataclass(frozen=True)
class Best:
    """A trial's best finite epoch."""

    epoch: int
    value: float


@dataclass
class Trial:
    """One configuration and all that happened to it."""

    number: int
    params: dict[str, Any]
    by: str
    status: Status = "running"
    segments: int = 0
    node: str = ""
    started: float = 0.0
    ended: float = 0.0
    reports: dict[int, Report] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopped_by: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs that were reported."""
        return max(self.reports, default=0)

    def value(self, epoch: int, metric: str) -> float:
        """The metric at that epoch; NaN where the epoch did not report it."""
        report = self.reports.get(epoch)
        return report.metrics.get(metric, math.nan) if report else math.nan

    @property
    def latest_checkpoint(self) -> Checkpoint | None:
        """Where a next segment starts from."""
        return self.checkpoints[max(self.checkpoints)] if self.checkpoints else None


@dataclass(frozen=True)
class Objective:
    """The metric that trials are judged by."""

    metric: str
    mode: Literal["min", "max"]

    def loss(self, value: float) -> float:
        """The value with its sign turned so that lower is better."""
        return -value if self.mode == "max" else value

    def best(self, trial: Trial, upto: int | None = None) -> Best | None:
        """The best finite epoch (the earliest of equals), of those up to ``upto``; None where there is none."""
        values = (
            (self.loss(report.metrics[self.metric]), epoch)
            for epoch, report in trial.reports.items()
            if math.isfinite(report.metrics.get(self.metric, math.nan)) and (upto is None or epoch <= upto)
        )
        _, epoch = min(values, default=(math.nan, 0))
        return Best(epoch, trial.reports[epoch].metrics[self.metric]) if epoch else None


class SweepState:
    """The fold of a journal. ``apply`` takes the events in order; everything else reads."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.spec: dict[str, Any] = {}
        self.created: dict[str, Any] = {}
        self.trials: dict[int, Trial] = {}
        self.status: str = "created"
        self.reason: str = ""
        self.seq = -1
        self.started = 0.0
        self.updated = 0.0
        self.active_seconds = 0.0
        self.slots = 0
        self._since: float | None = None
        for event in events:
            self.apply(event)

    @property
    def objective(self) -> Objective:
        return Objective(**self.spec["objective"])

    def apply(self, event: Event) -> None:
        """Fold one event in. Unknown types are passed over: a newer writer may say more."""
        self.seq = event.seq
        self.updated = event.time
        handler = getattr(self, "_on_" + event.type.replace(".", "_"), None)
        if handler:
            handler(event)
        if self._since is not None:
            self.active_seconds += max(0.0, event.time - self._since)
            self._since = event.time

    def ranking(self) -> list[Trial]:
        """Trials, best first, by best finite epoch and then number; those with none, then failed ones, last."""
        objective = self.objective

        def key(trial: Trial) -> tuple[int, float, int]:
            best = objective.best(trial)
            if trial.status == "failed":
                return (2, 0.0, trial.number)
            return (0, objective.loss(best.value), trial.number) if best else (1, 0.0, trial.number)

        return sorted(self.trials.values(), key=key)

    def winner(self) -> Trial | None:
        """The best trial that did not fail and has a finite value; None where there is none."""
        first = next(iter(self.ranking()), None)
        return first if first and first.status != "failed" and self.objective.best(first) else None

    def cut_off(self) -> None:
        """The process that wrote the journal is gone and wrote no pause: what it ran is interrupted."""
        self.status = "interrupted"
        self._interrupt()

    def count(self, *statuses: str) -> int:
        return sum(trial.status in statuses for trial in self.trials.values())

    def _on_sweep_created(self, event: Event) -> None:
        self.created = dict(event.fields)
        self.spec = event["spec"]
        self.started = event.time

    def _on_sweep_launched(self, event: Event) -> None:
        self.status, self.reason = "running", ""
        self.slots = event["slots"]
        # A process that died wrote no pause: whatever it ran is interrupted now.
        self._interrupt()
        self._since = event.time

    def _on_sweep_paused(self, event: Event) -> None:
        self.status, self.reason = "paused", event["reason"]
        self._interrupt()
        self._close(event)

    def _on_sweep_completed(self, event: Event) -> None:
        self.status, self.reason = "completed", event["reason"]
        self._close(event)

    def _close(self, event: Event) -> None:
        if self._since is not None:
            self.active_seconds += max(0.0, event.time - self._since)
            self._since = None

    def _interrupt(self) -> None:
        for trial in self.trials.values():
            if trial.status == "running":
                trial.status = "interrupted"

    def _on_trial_suggested(self, event: Event) -> None:
        number = event["trial"]
        self.trials[number] = Trial(number, event["params"], event["by"], started=event.time)

    def _on_segment_started(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.segments, trial.node = "running", event["segment"] + 1, event["node"]

    def _on_segment_reported(self, event: Event) -> None:
        metrics = {name: float(value) for name, value in event["metrics"].items()}
        report = Report(event["epoch"], metrics, event["segment"], event.time)
        self.trials[event["trial"]].reports[report.epoch] = report

    def _on_segment_checkpointed(self, event: Event) -> None:
        checkpoint = Checkpoint(event["epoch"], event["path"], event["size"], event["sha256"])
        self.trials[event["trial"]].checkpoints[checkpoint.epoch] = checkpoint

    def _on_segment_failed(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.failures.append(Failure(event["segment"], event["kind"], event["message"], event["fingerprint"]))
        trial.status = "interrupted"

    def _on_trial_finished(self, event: Event) -> None:
        self._end(event, "finished")

    def _on_trial_stopped(self, event: Event) -> None:
        self._end(event, "stopped")
        self.trials[event["trial"]].stopped_by = {"epoch": event["epoch"], "rule": event["rule"], **event["why"]}

    def _on_trial_failed(self, event: Event) -> None:
        self._end(event, "failed")

    def _end(self, event: Event, status: Status) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.ended = status, event.time
