"""End a training at the end that its job names."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
from lightning.pytorch.callbacks import Timer

from orchestrator.training.job import Job
from orchestrator.training.paced_reading import PacedReading

_TOLERANCE = 1e-9  # relative: a progress in epochs is a fraction
_SAME_ON_ALL_RANKS = frozenset({"epochs", "steps"})


class TrainingEnd:
    """Ends a training at ``until`` of the job's progress: Lightning has limits for epochs, steps and its time alone.

    ``reached`` says whether it has come there.
    """

    def __init__(self, job: Job) -> None:
        until = job.progress.get("until")
        self._until = float(until) * (1 - _TOLERANCE) if until else None
        self._is_counted_alike = job.progress.get("unit") in _SAME_ON_ALL_RANKS
        self._reading = PacedReading()
        self._wait = 1
        self.reached = False

    def is_here(self, trainer: L.Trainer, progress: Callable[[], float]) -> bool:
        """Return, the same on all ranks, whether the end is after this batch; if so, end the training there."""
        if not self.reached and self._until is not None and self._has_come(trainer, self._until, progress):
            self.reached = True
            stop(trainer)
        return self.reached

    def resume(self, trainer: L.Trainer, progress: float) -> None:
        """Continue from a checkpoint of this progress: if that is the end, nothing more is trained."""
        if self._until is not None and progress >= self._until:
            self.reached = True
            stop(trainer)

    def _has_come(self, trainer: L.Trainer, until: float, progress: Callable[[], float]) -> bool:
        if trainer.world_size == 1 or self._is_counted_alike:
            return self._reading.reached(until, progress)
        self._wait -= 1
        if self._wait > 0:
            return False
        passed = self._reading.wait
        reached, self._wait = trainer.strategy.broadcast(
            (self._reading.reached(until, progress, passed), self._reading.wait)
        )
        return bool(reached)


def stop(trainer: L.Trainer) -> None:
    """End the training after this batch: that overrides ``min_epochs`` and ``min_steps``."""
    trainer.fit_loop.min_epochs = 0
    trainer.fit_loop.epoch_loop.min_steps = None
    trainer.should_stop = True


def time_is_up(trainer: L.Trainer) -> bool:
    """Return whether ``max_time`` has ended the training. Its callback keeps the time, and checks it as one resumes."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return any((remaining := timer.time_remaining()) is not None and remaining <= 0 for timer in timers)
