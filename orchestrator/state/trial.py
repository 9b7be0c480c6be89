"""One trial as the journal records it: its reports, checkpoints, failures and takeovers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.progress import EPOCHS, UNITS, value

Status = Literal["running", "interrupted", "set_aside", "finished", "stopped", "failed"]
ENDED = frozenset({"finished", "stopped", "failed"})


def rung_of(decision: Mapping[str, Any]) -> float | None:
    """Return the rung at which a decision was made; None if its record has no number there, as a plug-in's may."""
    rung: Any = decision.get("rung")
    return rung if type(rung) in (int, float) and math.isfinite(rung) else None


@dataclass(frozen=True, slots=True)
class Report:
    """The metrics of one validation, and how far the trial was.

    Attributes:
        progress: in the sweep's unit.
        metrics: the values at that moment.
        segment: the number of the segment that sent it.
        time: in Unix seconds, for display only; differences of ``steady_time`` are durations.
        epoch: the epochs trained, a fraction within one.
        step: the optimizer steps taken; 0 in a journal of version 0.1.0, as are ``samples`` and ``seconds``.
        samples: the samples trained on.
        seconds: of training.
        counters: what the module counts, by name.
    """

    progress: float
    metrics: dict[str, float]
    segment: int
    time: float
    steady_time: float = 0.0
    epoch: float = 0
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    counters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: ``path`` relative to the run directory, ``size`` in bytes.

    ``progress`` is that of its moment in the sweep's unit, and ``epoch`` the epochs trained by then.
    """

    progress: float
    path: str
    size: int
    sha256: str
    epoch: float = 0

    @property
    def since(self) -> float:
        """The progress of the last report that it includes: its own."""
        return self.progress


@dataclass(frozen=True, slots=True)
class InterimCheckpoint(Checkpoint):
    """A checkpoint between two reports. A trial has one at most, the newest.

    Attributes:
        segment: the number of the segment that saved it.
        reported: the progress of the last report before it; 0 if there is none.
        halvings: how often the trial's micro-batch was halved by then.
        measures: how far it is: ``epoch``, ``step``, ``samples``, ``seconds``.
    """

    segment: int = 0
    reported: float = 0
    halvings: int = 0
    measures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def since(self) -> float:
        """The progress of the last report that it includes."""
        return self.reported


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a segment failed.

    Attributes:
        message: the error, in one line.
        progress: that of the trial's last report or checkpoint.
        place: the line of the user's code, ``net.py:12, in forward``; empty if there is none, and in earlier versions.
        seconds: for how long the segment ran.
    """

    segment: int
    kind: str
    message: str
    fingerprint: str
    progress: float
    node: str
    place: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Takeover:
    """From ``segment`` on, the trial continues from the checkpoint of trial ``donor`` with ``params``."""

    segment: int
    params: dict[str, Any]
    checkpoint: Checkpoint
    donor: int


@dataclass(frozen=True)
class Best:
    """A trial's best finite report."""

    progress: float
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
        counted: How far the current segment is in each unit, by its last report or its own checkpoint: what is trained
            beyond counts as trained.
        interim: The newest checkpoint beyond the last report; None if that report has the newest.
        segment_progress: The progress of the current segment's last report or checkpoint, or of the one that it started
            from.
        segment_reported: The progress of the last report on the current segment's way; 0 before the first.
        was_set_aside: Whether it was set aside and no segment has started since.
        checkpointed: Whether a checkpoint of it was ever recorded.
        launches: For each segment, the place in `SweepState.launches` of the launch that started it.
        segment_starts: For each segment, when it started on a clock without jumps.
        steady_started: When it was suggested, as ``started``, but on a clock without jumps; so is ``steady_ended``.
        found: The attributes that Lightning's finders have set in its first segment, with their values.
        busy: For how many seconds its segments ran, up to the present one.
        began: The value of `SweepState.active_seconds` at which the present segment began.
        restarts: The segments after the first that had no checkpoint to start from.
        precision: What ``precision: auto`` came to; empty if the sweep file names another, and in earlier versions.
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
    reports: dict[float, Report] = field(default_factory=dict)
    checkpoints: dict[float, Checkpoint] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopped_by: dict[str, Any] = field(default_factory=dict)
    promotions: list[dict[str, Any]] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    suggested: dict[str, Any] = field(init=False)
    halvings: int = 0
    forgiven_failures: int = 0
    counted: dict[str, float] = field(default_factory=dict)
    interim: InterimCheckpoint | None = None
    segment_progress: float = 0
    segment_reported: float = 0
    was_set_aside: bool = False
    checkpointed: bool = False
    launches: dict[int, int] = field(default_factory=dict)
    segment_starts: dict[int, float] = field(default_factory=dict)
    steady_started: float = 0.0
    steady_ended: float = 0.0
    found: dict[str, float] = field(default_factory=dict)
    precision: str = ""
    busy: float = 0.0
    began: float = 0.0
    restarts: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.suggested = self.params

    def as_trained(self, trainer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Trainer's arguments with the precision that the trial was trained in."""
        by_default = self.precision and trainer.get("precision", "auto") == "auto"
        return {**trainer, "precision": self.precision} if by_default else dict(trainer)

    def params_at(self, progress: float) -> dict[str, Any]:
        """Return the parameters that the trial had at that report."""
        segment = self.reports[progress].segment
        return next((t.params for t in reversed(self.takeovers) if t.segment <= segment), self.suggested)

    @property
    def progress(self) -> float:
        """The progress of the last report; 0 before the first."""
        return max(self.reports, default=0)

    @property
    def epoch(self) -> float:
        """The epochs trained by the last report, a fraction within one; 0 before the first."""
        return self.reports[self.progress].epoch if self.reports else 0

    @property
    def reached(self) -> float:
        """The progress of the last report or of the newest checkpoint, whichever is further."""
        return max(self.progress, self.interim.progress if self.interim else 0)

    @property
    def files(self) -> list[Checkpoint]:
        """All its checkpoints."""
        return [*self.checkpoints.values(), *([self.interim] if self.interim else [])]

    def measures(self, saved: Checkpoint) -> dict[str, float]:
        """Return how far one of its checkpoints is, by unit, as far as that is on record."""
        report = self.reports.get(saved.progress)
        if isinstance(saved, InterimCheckpoint):
            measures = saved.measures
        elif report is None:
            return {EPOCHS: saved.epoch}
        else:
            measures = {name: getattr(report, name) for name in ("epoch", "step", "samples", "seconds")}
        return {unit: reached for unit in UNITS if (reached := value(measures, unit)) is not None}

    def value(self, progress: float, metric: str) -> float:
        """Return the metric at that report; NaN if it is not in it."""
        report = self.reports.get(progress)
        return report.metrics.get(metric, math.nan) if report else math.nan

    @property
    def restart_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints from which a next segment may start, in order of preference.

        The trial's own come latest first; a donor's comes after those of the current parameters and before older ones.
        A report's checkpoint whose report is not on record is left out: starting from it would leave a gap in the
        reports. So is one between two reports if the batches were halved since, as its place in the data is in batches.
        """
        interim = [self.interim] if self.interim and self.interim.halvings == self.halvings else []
        own = [*interim, *self._reported_checkpoints]
        if not self.takeovers:
            return own
        current = [checkpoint for checkpoint in own if self.has_current_params(checkpoint)]
        older = [checkpoint for checkpoint in own if checkpoint not in current]
        return [*current, self.takeovers[-1].checkpoint, *older]

    def has_current_params(self, checkpoint: Checkpoint) -> bool:
        """Return whether ``checkpoint`` is the trial's own and was trained with its current parameters."""
        return not self.takeovers or (
            self._is_own(checkpoint) and self._segment_of(checkpoint) >= self.takeovers[-1].segment
        )

    @property
    def _reported_checkpoints(self) -> list[Checkpoint]:
        """Its own checkpoints whose reports are on record, the latest first."""
        return [self.checkpoints[at] for at in sorted(self.checkpoints, reverse=True) if at in self.reports]

    def _is_own(self, checkpoint: Checkpoint) -> bool:
        return checkpoint is self.interim or checkpoint is self.checkpoints.get(checkpoint.progress)

    def _segment_of(self, checkpoint: Checkpoint) -> int:
        """Return the segment that saved one of its checkpoints."""
        if isinstance(checkpoint, InterimCheckpoint):
            return checkpoint.segment
        return self.reports[checkpoint.progress].segment

    @property
    def donor_checkpoint(self) -> tuple[int, float] | None:
        """Trial and progress of the donor's checkpoint it would continue from; None if it has a report's of its own."""
        if not self.takeovers or any(map(self.has_current_params, self._reported_checkpoints)):
            return None
        return self.takeovers[-1].donor, self.takeovers[-1].checkpoint.progress

    def load_failures(self, newest: Checkpoint) -> int:
        """Return how often a checkpoint failed to load since ``newest`` was saved, or taken over from a donor."""
        since = self._segment_of(newest) + 1 if self._is_own(newest) else self.takeovers[-1].segment
        recent = self.failures[self.forgiven_failures :]
        return sum(failure.kind == "checkpoint" and failure.segment >= since for failure in recent)

    def consecutive_failures(self, kind: str) -> int:
        """Return how often it failed in that way since its last report, its last checkpoint or its last retry."""
        recent = self.failures[self.forgiven_failures :]
        return sum(failure.kind == kind and failure.progress == self.reached for failure in recent)
