"""The last lines of a trial's log, for its page in `sweep watch`."""

from __future__ import annotations

import contextlib
import time

from orchestrator.results.log_reader import last_lines
from orchestrator.rundir import RunDirectory

LINES = 15
_SECONDS = 1.0  # between two reads of a log
_REMOTE_SECONDS = 30.0  # in object storage, where each is a request that costs money


class LogPane:
    """Reads the end of one log after another; no method raises."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._read: tuple[tuple[int, int], float, list[str]] = ((-1, -1), 0.0, [])

    def lines(self, trial: int, segment: int) -> list[str]:
        """Return the last lines that rank 0 of a segment has printed, as they were a moment ago."""
        what, at, lines = self._read
        every = _REMOTE_SECONDS if self._run.url else _SECONDS
        if what != (trial, segment) or time.monotonic() - at > every:
            with contextlib.suppress(OSError):
                lines = last_lines(self._run, trial, segment, LINES)
            self._read = (trial, segment), time.monotonic(), lines
        return lines
