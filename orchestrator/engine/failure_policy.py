"""Failures told apart: what each kind costs a trial, and how often it is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.state import SweepState, Trial


@dataclass(frozen=True)
class Failed:
    """How a segment ended badly.

    ``kind`` is one of `KINDS`; ``fingerprint`` is the same for the same mistake in the same place.
    """

    kind: str
    message: str
    fingerprint: str


# Kind -> what it is, and how often in a row, with no epoch finished in between, a trial may fail so and go on from its
# last checkpoint. None: as often as it takes, for the trial has no part in it.
KINDS: dict[str, tuple[str, int | None]] = {
    "user": ("an error in the module, the data or a callback", 0),
    "objective": ("the objective was not logged", 0),
    "data": ("the data set is absent or damaged", 0),
    "bug": ("an error of our own", 1),
    "checkpoint": ("a checkpoint is not what was written", 3),
    "memory": ("out of memory", 4),
    "lost": ("its process ended without a word", 3),
    "stalled": ("it made no progress", 3),
    "node": ("its node is gone", None),
    "preempted": ("its node was taken back", None),
    "storage": ("the storage failed", None),
}
# Trials in a row that ended by the same failure before the sweep is paused: one mistake, not bad luck.
ALIKE_AT_FIRST = 3  # where no trial has finished an epoch yet
ALIKE = 10
STORAGE_FAILURES = 10  # in a row, though the storage answers when it is asked
NODE_FAILURES = 3  # distinct trials lost on one node, with no epoch finished there since


def exhausted(trial: Trial, kind: str) -> bool:
    """Whether a trial that has just failed in that way has failed for good."""
    _, retries = KINDS[kind]
    return retries is not None and trial.consecutive_failures(kind) > retries


def reason_to_pause(state: SweepState) -> str:
    """Why the sweep had better not go on; empty where there is no reason."""
    alike = state.failure_streak
    if alike.trials >= (ALIKE if state.has_reports else ALIKE_AT_FIRST):
        return f"{alike.trials} trials in a row failed alike: {alike.message}"
    if state.storage_failures >= STORAGE_FAILURES:
        return f"storage failed {state.storage_failures} times in a row though there is room"
    return ""
