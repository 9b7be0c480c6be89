"""A trial's ``WandbLogger``: always offline, and asleep until the user's own code logs something through it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.secrets import redact
from orchestrator.training.job import Job
from orchestrator.training.loggers.quiet_settings import QUIET

log = logging.getLogger(__name__)


class LazyWandbLogger(WandbLogger):
    """Numbers that modules log are in the journal and in the segment's CSV file, from where they are sent.

    Only what those cannot hold (images, tables, ``self.logger.experiment.log(...)``) starts W&B in this process, and
    offline even then: nothing here waits for a network. The folder is one more part of the trial's run.
    """

    _suffix = ""  # of the folder

    @property
    def experiment(self) -> Any:
        """The run; asleep for as long as nothing is asked of it, unless the user's code has imported W&B.

        Lightning asks every logger for it before training, and ``wandb.log`` needs a run that has begun.
        """
        return self._begun() if "wandb" in sys.modules else _Asleep(self)

    def _begun(self) -> Any:
        if self._experiment is None:
            try:
                import wandb

                self._wandb_init["settings"] = wandb.Settings(**QUIET, x_sync_dir_suffix=self._suffix)
                self._wandb_init.pop("anonymous", None)
                return super().experiment
            except Exception as problem:
                log.warning("a trial goes on without W&B: %s: %s", type(problem).__name__, redact(str(problem)))
                self._experiment = wandb.init(mode="disabled")
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if all(isinstance(value, int | float) for value in metrics.values()):
            return
        self._begun()
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Nothing: the run's config has the trial's parameters, under the names that the sweep has for them."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing: checkpoints are the sweep's."""

    def finish(self) -> None:
        """End the run, if there is one. Offline, this waits for the disk alone."""
        if self._experiment is not None:
            self._experiment.finish()


class _Asleep:
    """Stands for a run that begins when something is asked of it."""

    def __init__(self, logger: LazyWandbLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger._begun(), name)


def logger(job: Job, options: dict[str, Any]) -> WandbLogger | None:
    """The trial's logger; None where W&B is disabled. Raises whatever W&B does where it is absent or broken."""
    if options.get("mode") == "disabled":
        return None
    found = LazyWandbLogger(
        project=options["project"],
        entity=options.get("entity"),
        name=options["name"],
        id=options["id"],
        group=options["group"],
        save_dir=str(job.run_directory),
        mode="offline",
    )
    found._suffix = f"segment-{job.segment}"
    return found


def finish(logger: LazyWandbLogger) -> None:
    logger.finish()
