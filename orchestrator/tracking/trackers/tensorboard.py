"""TensorBoard: event files that Lightning's logger writes in the trial's process."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestrator.spec.parts import Part
from orchestrator.tracking.tracker import Tracker
from orchestrator.training.job import Job


class TensorboardTracking(Part):
    """TensorBoard: event files in each trial's folder."""

    flush_secs: int = Field(default=30, ge=1, description="Seconds between writes to disk.", examples=[10])


class Tensorboard(Tracker):
    """Event files in the trial's folder."""

    name = "tensorboard"
    summary = "Write TensorBoard's event files; true will do."
    Options = TensorboardTracking
    examples = (True,)

    @classmethod
    def logger(cls, job: Job, options: dict[str, Any]) -> Any:
        """Return Lightning's logger, of one folder for all segments of the trial."""
        from orchestrator.training.loggers import tensorboard

        return tensorboard.logger(job, options)
