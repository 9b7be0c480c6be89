"""TensorBoard event files in the trial's folder: ``tensorboard --logdir runs/<name>`` shows every trial."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from orchestrator.training.job import Job


def logger(job: Job, options: dict[str, Any]) -> TensorBoardLogger:
    """Return a logger whose folder all segments of the trial share, so that TensorBoard shows them as one run."""
    return TensorBoardLogger(
        save_dir=job.folder, name="", version="tensorboard", default_hp_metric=False, flush_secs=options["flush_secs"]
    )
