"""Failure kinds: what each costs a trial, and how often it is retried."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.state import SweepState, Trial


@dataclass(frozen=True)
class SegmentFailure:
    """Why a segment failed.

    Args:
        kind: one of `KINDS`.
        message: the error, in one line.
        fingerprint: equal for the same error raised in the same place.
        place: the last line of the user's code that was on the way to the error, ``net.py:12, in forward``; or empty.
    """

    kind: str
    message: str
    fingerprint: str
    place: str = ""

    def fields(self) -> dict[str, Any]:
        """Return what the journal records of it."""
        return {name: value for name, value in asdict(self).items() if value or name != "place"}


# Kind -> description, and how often in a row, with no epoch finished in between, a trial may fail so and resume from
# its last checkpoint. None: without limit, since the trial is not the cause.
KINDS: dict[str, tuple[str, int | None]] = {
    "user": ("an error in the module, the data or a callback", 0),
    "objective": ("the objective was not logged", 0),
    "data": ("the data set is absent or damaged", 0),
    "progress": ("a segment did not continue where it started", 0),
    "bug": ("an error of our own", 1),
    "checkpoint": ("a checkpoint is not what was written", 3),
    "memory": ("out of memory", 4),
    "lost": ("its process ended without an error message", 3),
    "stalled": ("it made no progress", 3),
    "node": ("its node is gone", None),
    "preempted": ("its node was preempted", None),
    "storage": ("the storage failed", None),
}
# So many trials in a row that failed with one fingerprint pause the sweep: a mistake, not bad luck.
SAME_FAILURES_AT_FIRST = 3  # before any trial has finished an epoch
SAME_FAILURES = 10
STORAGE_FAILURES = 10  # in a row, although a probe of the storage succeeds
NODE_FAILURES = 3  # distinct trials lost on one node, with no epoch finished there since


def exhausted_retries(trial: Trial, kind: str) -> bool:
    """Return whether a trial that has just failed so has no retry left."""
    _, retries = KINDS[kind]
    return retries is not None and trial.consecutive_failures(kind) > retries


def reason_to_pause(state: SweepState) -> str:
    """Return why the sweep should pause; empty if it should continue."""
    streak = state.failure_streak
    if streak.trials >= (SAME_FAILURES if state.has_reports else SAME_FAILURES_AT_FIRST):
        return f"{streak.trials} trials in a row failed alike: {streak.message}"
    if state.storage_failures >= STORAGE_FAILURES:
        return f"storage failed {state.storage_failures} times in a row though there is room"
    return ""
