"""Decide when a segment saves a checkpoint between two reports: on a stop, and every so often."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import lightning as L

from orchestrator.training.paced_reading import PacedReading

SHARE = 0.05  # of the time, for checkpoints between two reports
SHORTEST_SECONDS = 30.0  # between two of them
_POLL_SECONDS = 1.0  # after which several processes agree again


class InterimSaves:
    """Says after each batch whether to save a checkpoint, and whether to stop with it; the same on all ranks.

    By default a checkpoint is due when those of the segment, the next and those of reports included, have taken at most
    5 % of the time, and the last one at most 5 % of the time since. What the next takes is what the last one took.

    Args:
        stop: returns whether the segment is to end; called after each batch on rank 0.
        every: the interval, as ``Job.save_every`` has it.
    """

    def __init__(self, stop: Callable[[], bool], every: Mapping[str, float] | None) -> None:
        self._stop, self._every = stop, every
        self._cost = self._spent = 0.0  # of the last checkpoint; of all
        self._begun = False
        self._reading = PacedReading()
        self._start = self._last = time.monotonic()
        self._last_progress = 0.0
        self._until_agreed = 0  # batches
        self._agreed_at = time.monotonic()
        self._period = 1

    def begin(self, progress: Callable[[], float]) -> None:
        """Count the first interval from here, before the segment's first batch; later calls do nothing."""
        if not self._begun:
            self._begun, self._start = True, time.monotonic()
            self._last = self._start
            self._last_progress = progress() if self._by_progress else 0.0

    def decide(self, trainer: L.Trainer, progress: Callable[[], float]) -> tuple[bool, bool]:
        """Return whether to save a checkpoint now, and whether to stop after it; ``progress`` is read if needed."""
        if trainer.world_size == 1:
            return self._own(progress)
        self._until_agreed -= 1
        if self._until_agreed > 0:
            return False, False
        now = time.monotonic()
        seconds, self._agreed_at = (now - self._agreed_at) / self._period, now
        period = max(1, int(_POLL_SECONDS / max(seconds, 1e-6)))
        save, stop, self._period = trainer.strategy.broadcast((*self._own(progress), period))
        self._until_agreed = self._period
        return save, stop

    def saved(self, seconds: float, progress: Callable[[], float]) -> None:
        """Note that a checkpoint was saved, and what it took."""
        self._cost, self._last = seconds, time.monotonic()
        self._spent += seconds
        if self._by_progress:
            self._last_progress = progress()
            self._reading.look_again()

    @property
    def _by_progress(self) -> bool:
        return "progress" in (self._every or {})

    def _own(self, progress: Callable[[], float]) -> tuple[bool, bool]:
        stop = self._stop()
        return stop or self._is_due(progress), stop

    def _is_due(self, progress: Callable[[], float]) -> bool:
        if self._every is None:
            return False
        if "progress" in self._every:
            return self._reading.reached(self._last_progress + self._every["progress"], progress)
        now = time.monotonic()
        if "seconds" in self._every:
            return now - self._last >= self._every["seconds"]
        is_affordable = self._spent + self._cost <= SHARE * (now + self._cost - self._start)
        return is_affordable and now - self._last >= max(SHORTEST_SECONDS, self._cost * (1 / SHARE - 1))
