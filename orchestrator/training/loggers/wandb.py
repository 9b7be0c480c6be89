"""A trial's ``WandbLogger``: always offline, and started only when the user's own code logs something through it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.secrets import masked
from orchestrator.training.compat_lightning import set_wandb_run, wandb_init_arguments, wandb_run
from orchestrator.training.job import Job
from orchestrator.training.loggers import QUIET

log = logging.getLogger(__name__)


class LazyWandbLogger(WandbLogger):
    """A ``WandbLogger`` that ignores numbers: they are uploaded from the journal and the segment's CSV file.

    Other values (images, tables, ``self.logger.experiment.log(...)``) start W&B in this process, offline, so that
    training never waits for a network. Their folder is later uploaded as a part of the trial's run.
    """

    _suffix = ""  # of the folder

    @property
    def experiment(self) -> Any:
        """The run, started at its first use, or now if the user's code has imported W&B.

        Lightning reads this of every logger before training, and ``wandb.log`` needs a run that has started.
        """
        return self._run() if "wandb" in sys.modules else _LazyRun(self)

    def _run(self) -> Any:
        if wandb_run(self) is None:
            try:
                import wandb

                arguments = wandb_init_arguments(self)
                arguments["settings"] = wandb.Settings(**QUIET, x_sync_dir_suffix=self._suffix)
                arguments.pop("anonymous", None)
                return super().experiment
            except Exception as error:
                log.warning("a trial continues without W&B: %s: %s", type(error).__name__, masked(str(error)))
                set_wandb_run(self, wandb.init(mode="disabled"))
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log to the run if any value is not a number; numbers alone are uploaded from the CSV file."""
        if all(isinstance(value, int | float) for value in metrics.values()):
            return
        self._run()
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: the run's config has the trial's parameters, under the sweep's names."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Do nothing: the sweep keeps the checkpoints."""

    def finish(self) -> None:
        """End the run, if it was started. Offline, this waits only for the disk."""
        if (run := wandb_run(self)) is not None:
            run.finish()


class _LazyRun:
    """Passes each attribute access to the run of a logger, which starts it at the first one."""

    def __init__(self, logger: LazyWandbLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger._run(), name)


def logger(job: Job, options: dict[str, Any]) -> WandbLogger | None:
    """Return the trial's logger; None if W&B is disabled. Errors of a missing or broken W&B pass through."""
    if options.get("mode") == "disabled":
        return None
    wandb_logger = LazyWandbLogger(
        project=options["project"],
        entity=options.get("entity"),
        name=options["name"],
        id=options["id"],
        group=options["group"],
        save_dir=str(job.run_directory),
        mode="offline",
    )
    wandb_logger._suffix = f"segment-{job.segment}"
    return wandb_logger
