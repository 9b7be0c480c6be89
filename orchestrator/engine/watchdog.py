"""Detect segments that no longer make progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Before its first sign of life a segment may be starting a process and importing a user's modules.
START_SECONDS = 300.0
_CHECKS = 10  # per stall time-out


@dataclass
class _Watched:
    file: Path
    changed: int
    since: float
    alive: bool = False


class Watchdog:
    """Signs of life are reports, and changes of a progress file's modification time.

    Only this machine's monotonic clock measures: the file's time may come from another machine, or from a clock that
    was set.

    Args:
        after: seconds without a sign of life until a segment counts as stalled; None for never.
        changed: returns a file's modification time, 0 if there is no file.
        clock: returns seconds.
    """

    def __init__(
        self, after: float | None, changed: Callable[[Path], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._after = after
        self._clock = clock
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._checked = clock()

    def start(self, segment: str, file: Path) -> None:
        """Watch a segment. Its progress file may exist already, from the segment before."""
        self._watched[segment] = _Watched(file, self._changed(file), self._clock())

    def alive(self, segment: str) -> None:
        """Note a segment's report."""
        watched = self._watched.get(segment)
        if watched is not None:
            watched.since, watched.alive = self._clock(), True

    def end(self, segment: str) -> None:
        """Stop watching a segment."""
        self._watched.pop(segment, None)

    def stalled(self) -> Iterator[tuple[str, float]]:
        """Yield each segment that stalled since the last call, once, with its seconds without progress."""
        if self._after is None or self._clock() - self._checked < self._after / _CHECKS:
            return
        self._checked = now = self._clock()
        for segment, watched in list(self._watched.items()):
            changed = self._changed(watched.file)
            if changed != watched.changed:
                watched.changed, watched.since, watched.alive = changed, now, True
            elif now - watched.since > (self._after if watched.alive else max(self._after, START_SECONDS)):
                self.end(segment)
                yield segment, now - watched.since
