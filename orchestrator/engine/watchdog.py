"""Which segments have stopped getting anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Until a segment has shown any sign of life, it may be starting a process and importing a user's modules.
START_SECONDS = 300.0
_CHECKS = 10  # in the time that makes a segment a stalled one


@dataclass
class _Watched:
    file: Path
    changed: int
    since: float
    alive: bool = False


class Watchdog:
    """Signs of life are reports, and changes of a file's time of modification that are seen from here.

    Only our own monotonic clock measures: the file's time may come from another machine, or from a clock that was set.

    Args:
        after: seconds without a sign of life; None to never call a segment stalled.
        changed: says of a file when it was last changed, 0 where there is none.
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
        """A segment starts; the file may be there from the one before."""
        self._watched[segment] = _Watched(file, self._changed(file), self._clock())

    def alive(self, segment: str) -> None:
        """A report of it came in."""
        watched = self._watched.get(segment)
        if watched is not None:
            watched.since, watched.alive = self._clock(), True

    def end(self, segment: str) -> None:
        """It is not to be watched any more."""
        self._watched.pop(segment, None)

    def stalled(self) -> Iterator[tuple[str, float]]:
        """Each segment that has just turned out to be stalled, and for how many seconds; it is told of once."""
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
