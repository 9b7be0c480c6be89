"""One trial as the journal records it: its reports, checkpoints, failures and takeovers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["running", "interrupted", "set_aside", "finished", "stopped", "failed"]
ENDED = frozenset({"finished", "stopped", "failed"})


@dataclass(frozen=True, slots=True)
class Report:
    """One epoch's metrics. ``epoch`` counts finished epochs from 1.

    ``time`` is in Unix seconds, for display only; differences of ``steady_time`` are durations.
    """

    epoch: int
    metrics: dict[str, float]
    segment: int
    time: float
    steady_time: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: ``path`` relative to the run directory, ``size`` in bytes."""

    epoch: int
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a segment failed. ``epoch`` is the number of epochs the trial had finished by then."""

    segment: int
    kind: str
    message: str
    fingerprint: str
    epoch: int
    node: str


@dataclass(frozen=True, slots=True)
class Takeover:
    """From ``segment`` on, the trial continues from the checkpoint of trial ``donor`` with ``params``."""

    segment: int
    params: dict[str, Any]
    checkpoint: Checkpoint
    donor: int


@dataclass(frozen=True)
class Best:
    """A trial's best finite epoch."""

    epoch: int
    value: float


@dataclass(slots=True)
class Trial:
    """One configuration under one seed.

    Attributes:
        params: The current parameters; ``suggested`` are the original ones, which a takeover replaces.
        by: The searcher that suggested it.
        configuration: The first trial with these parameters: its own number, unless it repeats another trial.
        segments: How many segments have started.
        device_kind: The kind of device it runs on, if the sweep has several kinds.
        halvings: How often its micro-batch was halved since the last retry, once for each failure of kind ``memory``.
        forgiven_failures: How many failures the last retry has forgiven; only later ones count against it.
        segment_epoch: The current segment's progress in epochs, counted from the start of the trial.
        progress: The same, also for a segment that started from another trial's checkpoint.
        was_set_aside: Whether it was set aside and no segment has started since.
        checkpointed: Whether a checkpoint of it was ever recorded.
        launches: For each segment, the place in `SweepState.launches` of the launch that started it.
        steady_started: When it was suggested, as ``started``, but on a clock without jumps; so is ``steady_ended``.
        found: The attributes that Lightning's finders have set in its first segment, with their values.
    """

    number: int
    params: dict[str, Any]
    by: str
    configuration: int
    status: Status = "running"
    segments: int = 0
    node: str = ""
    device_kind: str = ""
    started: float = 0.0
    ended: float = 0.0
    reports: dict[int, Report] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopped_by: dict[str, Any] = field(default_factory=dict)
    promotions: list[dict[str, Any]] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    suggested: dict[str, Any] = field(init=False)
    halvings: int = 0
    forgiven_failures: int = 0
    segment_epoch: int = 0
    progress: int = 0
    was_set_aside: bool = False
    checkpointed: bool = False
    launches: dict[int, int] = field(default_factory=dict)
    steady_started: float = 0.0
    steady_ended: float = 0.0
    found: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.suggested = self.params

    def params_at(self, epoch: int) -> dict[str, Any]:
        """Return the parameters that the trial had when it reported that epoch."""
        segment = self.reports[epoch].segment
        return next((t.params for t in reversed(self.takeovers) if t.segment <= segment), self.suggested)

    @property
    def epoch(self) -> int:
        """The last reported epoch; 0 before the first report."""
        return max(self.reports, default=0)

    def value(self, epoch: int, metric: str) -> float:
        """Return the metric at that epoch; NaN if the epoch did not report it."""
        report = self.reports.get(epoch)
        return report.metrics.get(metric, math.nan) if report else math.nan

    @property
    def restart_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints from which a next segment may start, in order of preference.

        The trial's own come latest first; a donor's comes after those of the current parameters and before older ones.
        A checkpoint whose epoch was never reported is left out: starting from it would leave a gap in the reports.
        """
        own = [self.checkpoints[epoch] for epoch in sorted(self.checkpoints, reverse=True) if epoch in self.reports]
        if not self.takeovers:
            return own
        current = [checkpoint for checkpoint in own if self.has_current_params(checkpoint)]
        older = [checkpoint for checkpoint in own if checkpoint not in current]
        return [*current, self.takeovers[-1].checkpoint, *older]

    def has_current_params(self, checkpoint: Checkpoint) -> bool:
        """Return whether ``checkpoint`` is the trial's own and was trained with its current parameters."""
        return not self.takeovers or (
            checkpoint is self.checkpoints.get(checkpoint.epoch)
            and self.reports[checkpoint.epoch].segment >= self.takeovers[-1].segment
        )

    @property
    def donor_checkpoint(self) -> tuple[int, int] | None:
        """Trial and epoch of the donor's checkpoint it would continue from; None if it has one of its own."""
        if not self.takeovers or any(map(self.has_current_params, self.restart_checkpoints)):
            return None
        return self.takeovers[-1].donor, self.takeovers[-1].checkpoint.epoch

    @property
    def latest_checkpoint(self) -> Checkpoint | None:
        """The checkpoint from which the next segment starts; None if it starts from the beginning."""
        return next(iter(self.restart_checkpoints), None)

    def load_failures(self, newest: Checkpoint) -> int:
        """Return how often a checkpoint failed to load since ``newest`` was saved, or taken over from a donor."""
        own = newest is self.checkpoints.get(newest.epoch)
        since = self.reports[newest.epoch].segment + 1 if own else self.takeovers[-1].segment
        recent = self.failures[self.forgiven_failures :]
        return sum(failure.kind == "checkpoint" and failure.segment >= since for failure in recent)

    def consecutive_failures(self, kind: str) -> int:
        """Return how often it failed in that way since its last finished epoch or its last retry."""
        recent = self.failures[self.forgiven_failures :]
        return sum(failure.kind == kind and failure.epoch == self.epoch for failure in recent)
