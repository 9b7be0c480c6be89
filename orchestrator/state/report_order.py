"""The order of a trial's reports: a segment continues where it started, and each report follows the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def order_fault(epoch: float, *, after: float, first: bool, span: int | None = 1) -> str:
    """Return what is wrong with a report's progress; empty if nothing is.

    Args:
        epoch: of the report.
        after: the epoch of the segment's last report, or of the checkpoint that it started from; 0 for neither.
        first: whether it is the segment's first report.
        span: the most epochs between two validations; None if that depends on steps.
    """
    origin = f"after epoch {after}, from which its segment started" if first else f"after its report of epoch {after}"
    if epoch <= after:
        return f"reports epoch {epoch} {origin}: something moved the training back"
    if first and span is not None and epoch > after + span:
        return f"reports epoch {epoch} {origin}: it skipped {epoch - after - span} epochs"
    return ""


def validation_span(trainer: Mapping[str, Any]) -> int | None:
    """Return the most epochs between two validations, by the Trainer's arguments; None if that depends on steps."""
    span = trainer.get("check_val_every_n_epoch", 1)
    return span if isinstance(span, int) else None
