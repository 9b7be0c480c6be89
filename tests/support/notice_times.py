"""Times of a preemption notice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def in_seconds(seconds: float) -> str:
    """As EC2 writes a time."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
