"""Durations that no clock step changes: the writer notes jumps of the wall clock, and a reader takes them out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from orchestrator.journal.records import Event

_TOLERANCE = 0.1  # seconds by which all differences of times together may be wrong before a jump is noted


@dataclass
class SteadyTime:
    """The times of a journal's records on a clock without jumps: only its differences mean something.

    It is the wall clock's time as long as no jump is on record. Between two writers it is the wall clock's, too.
    """

    _jumps: float = field(default=0.0, init=False)
    _previous: float | None = field(default=None, init=False)

    def of(self, event: Event) -> float:
        """Return the time of the next event of the journal, in seconds."""
        if event.passed is not None and self._previous is not None:
            self._jumps += event.time - self._previous - event.passed
        self._previous = event.time
        return event.time - self._jumps


class JumpDetector:
    """Compares the writer's wall clock with a monotonic one, which on Linux also stops while a machine is suspended."""

    def __init__(self) -> None:
        self.use(lambda: time.time(), lambda: monotonic())

    def use(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Use other clocks."""
        self.wall, self._monotonic = wall, monotonic
        self._began: float | None = None  # of the monotonic clock, at the first record
        self._stamped = 0.0  # of the monotonic clock, at the last stamp
        self._previous = self._counted = 0.0  # time of the last record, and seconds as a reader counts them until then

    def stamp(self) -> tuple[float, float | None]:
        """Return the next record's time in Unix seconds, and the seconds since the last record if that is not it."""
        now, self._stamped = round(self.wall(), 3), self._monotonic()
        if self._began is None:
            return now, None
        passed = self._stamped - self._began - self._counted
        return now, None if abs(now - self._previous - passed) < _TOLERANCE else max(0.0, round(passed, 3))

    def note(self, event: Event) -> None:
        """Note that the event is in the journal."""
        if self._began is None:
            self._began = self._stamped
        else:
            self._counted += event.time - self._previous if event.passed is None else event.passed
        self._previous = event.time
