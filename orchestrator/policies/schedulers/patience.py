"""Patience: stop a trial that no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.safe_text import show
from orchestrator.spec import SchedulerOptions, SweepSpec


class Patience(SchedulerOptions):
    """Stops a trial that no longer improves, whatever the others do.

    Example:
        ```python
        scheduler = orchestrator.Patience(epochs=5, min_delta=0.001)
        ```
    """

    name: Literal["patience"] = "patience"
    epochs: int = Field(default=5, ge=1, description="Epochs without improvement after which it ends.", examples=[5])
    min_delta: float = Field(
        default=0.0, ge=0, description="How much better than before counts as an improvement.", examples=[0.001]
    )


class PatienceScheduler(Scheduler[Patience]):
    """Stop a trial that has not improved, by more than ``min_delta``, for ``epochs`` epochs. Compares no trials."""

    exact = True

    def __init__(self, options: Patience, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._max_epochs = spec.trainer.get("max_epochs")
        self._improved: dict[int, tuple[float, float]] = {}  # trial -> loss and progress of its last improvement

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say when the trial last improved."""
        return (
            f"{show(why['value'])} at epoch {why['since']} was its last improvement, "
            f"and {why['epochs']} epochs without one are allowed"
        )

    def on_report(self, trial: int, progress: float) -> None:
        """Take note of an improvement."""
        loss = self.objective.loss(self.last[trial])
        if math.isfinite(loss) and loss < self._improved.get(trial, (math.inf, 0))[0] - self.options.min_delta:
            self._improved[trial] = loss, progress

    def on_extended(self, max_epochs: int) -> None:
        """Move the end of the training."""
        self._max_epochs = max_epochs

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Stop a trial whose last improvement is too long ago."""
        loss, since = self._improved[trial]
        if progress - since < self.options.epochs or progress == self._max_epochs:
            return None
        numbers = {"rung": progress, "value": self.value(loss), "since": since, "epochs": self.options.epochs}
        return Verdict(self.name, numbers)
