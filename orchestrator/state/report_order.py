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
    span: float | None = 1,
    unit: str = EPOCHS,
    unreported: int = 0,
) -> str:
    """Return what is wrong with a report's progress; empty if nothing is.

    Args:
        progress: of the report.
        after: that of the segment's last report, or of the checkpoint that it started from; 0 for neither.
        first: whether it is the segment's first report.
        span: the most progress between two reports; None if it is not known.
        unit: of progress.
        unreported: how many validations before it gave no report, since they did not log the objective.
    """
    there, before = place(progress, unit), place(after, unit)
    origin = f"after {before}, from which its segment started" if first else f"after its report of {before}"
    if progress <= after:
        return f"reports {there} {origin}: something moved the training back"
    if span is not None:
        span *= 1 + unreported
    if first and span is not None and progress > after + span:
        return f"reports {there} {origin}: it skipped {amount(progress - after - span, unit)}"
    return ""


def validation_span(trainer: Mapping[str, Any], unit: str = EPOCHS) -> int | None:
    """Return the most epochs between two validations, by the Trainer's arguments; None if it is not known."""
    every = trainer.get("check_val_every_n_epoch", 1)
    return every if unit == EPOCHS and isinstance(every, int) else None
