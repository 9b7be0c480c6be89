"""When to report within an epoch that is not validated, and what a report's counters hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import lightning as L

from orchestrator.errors import ObjectiveError, ProgressError
from orchestrator.training.checkpoint_saver import epochs_trained
from orchestrator.training.job import Job
from orchestrator.training.progress_meter import ProgressMeter

EPOCHS = "epochs"
_COUNTER = "metric:"
_SHARES = 20  # reports under max_steps, if an epoch has no end and the job says nothing
_STEPS = 1000  # between two reports, if nothing limits the steps


class ReportInterval:
    """Says when a report is due without a validation: every so often in the unit of the job's progress.

    If the job says nothing, a report is due at the end of each epoch. If progress has another unit and an epoch has no
    known end, it is due after a twentieth of ``max_steps``, or after 1000 steps.
    """

    def __init__(self, job: Job) -> None:
        self._unit = str(job.progress.get("unit") or EPOCHS)
        self._every = float(job.progress.get("every") or 0)
        self._last = 0.0
        self._counter = -math.inf

    def is_due(self, trainer: L.Trainer, meter: ProgressMeter) -> bool:
        """Return, the same on all ranks, whether a multiple of the interval was passed since the last call."""
        unit, every = self._unit, self._every
        if not every:
            if trainer.num_training_batches != math.inf or self._unit == EPOCHS:
                return False
            unit, every = "steps", max(1, trainer.max_steps // _SHARES) if trainer.max_steps > 0 else _STEPS
        value = self._value(unit, trainer, meter)
        due = math.floor(value / every) > math.floor(self._last / every)
        self._last = max(self._last, value)
        return bool(trainer.strategy.broadcast(due)) if trainer.world_size > 1 else due

    def counters(self, metrics: Mapping[str, float], trainer: L.Trainer) -> dict[str, float]:
        """Return the counter that the job's progress is measured in, by its name; empty if it is another unit.

        Raises:
            ObjectiveError: the module has not logged it.
            ProgressError: it is less than before.
        """
        name = self._unit.removeprefix(_COUNTER)
        if name == self._unit:
            return {}
        value = metrics.get(name, trainer.callback_metrics.get(name))
        if value is None:
            raise ObjectiveError(
                f"progress is measured in {name!r}, which {type(trainer.lightning_module).__name__} has not logged",
                hint="log it with self.log() in training_step, or set `progress.unit` to steps or samples",
            )
        if float(value) < self._counter:
            raise ProgressError(
                f"progress is measured in {name!r}, which fell from {self._counter:g} to {float(value):g}",
                hint="keep the count in a buffer of the module, so that a checkpoint holds it",
            )
        self._counter = float(value)
        return {name: self._counter}

    def known_counters(self, trainer: L.Trainer) -> dict[str, float]:
        """Return the counter that the job's progress is measured in, as it was logged last; empty if it never was."""
        name = self._unit.removeprefix(_COUNTER)
        value = trainer.callback_metrics.get(name) if name != self._unit else None
        return {} if value is None else {name: float(value)}

    def progress(self, trainer: L.Trainer, meter: ProgressMeter) -> float:
        """Return how far the training is in the job's unit, by what this process alone counts."""
        return self._value(self._unit, trainer, meter)

    def check_place(self, trainer: L.Trainer) -> None:
        """Raise ProgressError if progress is measured in epochs, and this one has no known length."""
        if not self.has_place(trainer):
            raise ProgressError(
                "a validation within an epoch has no progress in epochs, since the training data have no length",
                hint="set `progress: {unit: steps}` or samples in the sweep file, or give the data a length",
            )

    def has_place(self, trainer: L.Trainer) -> bool:
        """Return whether a validation within this epoch has a progress in the job's unit."""
        return self._unit != EPOCHS or trainer.num_training_batches != math.inf

    def state(self) -> dict[str, float]:
        """Return what the next segment continues from."""
        return {"last": self._last, "counter": self._counter}

    def load(self, state: Mapping[str, float]) -> None:
        """Continue from what `state` returned."""
        self._last, self._counter = state.get("last", 0.0), state.get("counter", -math.inf)

    def _value(self, unit: str, trainer: L.Trainer, meter: ProgressMeter) -> float:
        if unit == "steps":
            return float(trainer.global_step)
        if unit == EPOCHS:
            return float(epochs_trained(trainer))
        if unit.startswith(_COUNTER):
            return float(trainer.callback_metrics.get(unit.removeprefix(_COUNTER), 0.0))
        return meter.estimate(unit, trainer)
