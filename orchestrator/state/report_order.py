"""The order of a trial's reports: a segment continues where it started, and each report lies beyond the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.progress import EPOCHS, place
from orchestrator.progress import span as amount


def order_fault(
    progress: float,
    *,
    after: float,
    first: bool,
    since: float | None = None,
    span: float | None = 1,
    unit: str = EPOCHS,
    unreported: int = 0,
    interim: bool = False,
) -> str:
    """Return what is wrong with the progress of a report, or of a checkpoint between two; empty if nothing is.

    A checkpoint between two reports may lie where the last report was, by a counter that the module logs there alone.

    Args:
        progress: of the report.
        after: that of the segment's last report or checkpoint, or of the one that it started from; 0 for neither.
        first: whether the segment has not reported before.
        since: that of the last report before this one, which may be of an earlier segment; ``after`` by default.
        span: the most progress between two reports; None if it is not known.
        unit: of progress.
        unreported: how many validations before it gave no report, since they did not log the objective.
        interim: whether it is a checkpoint.
    """
    verb = "saves" if interim else "reports"
    since = after if since is None else since
    there, before = place(progress, unit), place(after, unit)
    origin = f"after {before}, from which its segment started" if first else f"after its report of {before}"
    if progress < after or (progress == after and not interim):
        return f"{verb} {there} {origin}: something moved the training back"
    if span is not None:
        span *= 1 + unreported
    if first and span is not None and progress > since + span:
        return f"{verb} {there} {origin}: it skipped {amount(progress - since - span, unit)}"
    return ""


def validation_span(trainer: Mapping[str, Any], unit: str = EPOCHS) -> int | None:
    """Return the most epochs between two validations, by the Trainer's arguments; None if it is not known."""
    every = trainer.get("check_val_every_n_epoch", 1)
    return every if unit == EPOCHS and isinstance(every, int) else None
