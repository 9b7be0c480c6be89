"""One segment in the process that runs it: train, and turn what goes wrong into a record."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from orchestrator.engine.live import Failed
from orchestrator.errors import CheckpointError, DataError, ObjectiveError
from orchestrator.training import Job, Report

_KINDS = {ObjectiveError: "objective", DataError: "data", CheckpointError: "checkpoint"}


def attempt(job: Job, report: Callable[[Report], bool]) -> Failed | None:
    """Train one segment. None when it came to its end or was told to stop; else why not.

    The whole traceback goes to ``logs/error_segment_K.txt`` in the trial's folder. What is not an Exception (a
    scheduler's SystemExit, Ctrl-C) passes through.
    """
    from orchestrator.training import fit

    try:
        fit(job, report)
    except Exception as error:
        text = traceback.format_exc()
        log = Path(job.folder) / "logs" / f"error_segment_{job.segment}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
        return Failed(_kind(error), f"{type(error).__name__}: {error}"[:1000], _fingerprint(error))
    return None


def _kind(error: Exception) -> str:
    return next((kind for known, kind in _KINDS.items() if isinstance(error, known)), "user")


def _fingerprint(error: Exception) -> str:
    """The same for the same kind of error from the same line, whatever its message."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return blake2b(f"{type(error).__name__}@{place}".encode(), digest_size=6).hexdigest()
