"""Decide when a segment saves a checkpoint between two reports: on a stop, and in time."""

from __future__ import annotations

import time
from collections.abc import Callable

import lightning as L

SHARE = 0.05  # of the time, for checkpoints between two reports
SHORTEST_SECONDS = 30.0  # between two of them
_POLL_SECONDS = 1.0  # after which several processes agree again


class InterimSaves:
    """Says after each batch whether to save a checkpoint, and whether to stop with it; the same on all ranks.

    A checkpoint is due when the time since the last one, a report's included, is so long that checkpoints take at most
    5 % of it, by what the last one took.

    Args:
        stop: returns whether the segment is to end; called after each batch on rank 0.
        in_time: whether to save in time, too.
    """

    def __init__(self, stop: Callable[[], bool], *, in_time: bool) -> None:
        self._stop, self._in_time = stop, in_time
        self._cost = 0.0
        self._last = time.monotonic()
        self._until_agreed = 0  # batches
        self._agreed_at = time.monotonic()
        self._period = 1

    def decide(self, trainer: L.Trainer) -> tuple[bool, bool]:
        """Return whether to save a checkpoint now, and whether to stop after it."""
        if trainer.world_size == 1:
            return self._own()
        self._until_agreed -= 1
        if self._until_agreed > 0:
            return False, False
        now = time.monotonic()
        seconds, self._agreed_at = (now - self._agreed_at) / self._period, now
        save, stop, self._period = trainer.strategy.broadcast((*self._own(), max(1, int(_POLL_SECONDS / seconds))))
        self._until_agreed = self._period
        return save, stop

    def saved(self, seconds: float) -> None:
        """Note that a checkpoint was saved, and what it took."""
        self._cost, self._last = seconds, time.monotonic()

    def _own(self) -> tuple[bool, bool]:
        stop = self._stop()
        interval = max(SHORTEST_SECONDS, self._cost * (1 / SHARE - 1))
        return stop or (self._in_time and time.monotonic() - self._last >= interval), stop
