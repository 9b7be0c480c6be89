"""A trial's ``MLFlowLogger``, asleep until the user's own code asks for the client or the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.training.job import Job
from orchestrator.training.loggers.quiet_settings import IMPATIENT, MLFLOW_TAG


class LazyMLFlowLogger(MLFlowLogger):
    """Numbers that modules log are in the journal and in the segment's CSV file, from where they are sent.

    ``experiment`` is MLflow's client as ever, ``run_id`` the trial's run; asking for either may wait for the server.
    """

    def __init__(self, uri: str, experiment: str, run: str, name: str) -> None:
        Logger.__init__(self)  # MLflow itself takes a second to import
        self._asleep = True
        self._wanted = (uri, experiment, run, name)

    @property
    def experiment(self) -> Any:
        """MLflow's client, once something is asked of it: Lightning asks every logger for this before training."""
        return _Asleep(self)

    @property
    def run_id(self) -> str | None:
        """The trial's run, which is found or made."""
        self._awake()
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment that it is in."""
        self._awake()
        return self._experiment_id

    @property
    def name(self) -> str:
        return self._wanted[1]

    @property
    def version(self) -> str:
        return self._wanted[2]

    @property
    def save_dir(self) -> None:
        return None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Nothing: they are sent from the segment's CSV file."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Nothing: the run has the trial's parameters, under the names that the sweep has for them."""

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Nothing: the run ends when the trial does, which may have segments to come."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Nothing: checkpoints are the sweep's."""

    def _awake(self) -> Any:
        if self._asleep:
            self._wake()
        return super().experiment

    def _wake(self) -> None:
        for variable, value in IMPATIENT.items():
            os.environ.setdefault(variable, value)
        uri, experiment, run, name = self._wanted
        super().__init__(experiment, run_name=name, tracking_uri=uri, tags={MLFLOW_TAG: run})
        self._asleep = False
        known = self._mlflow_client.get_experiment_by_name(experiment)
        if known is not None:
            runs = self._mlflow_client.search_runs(
                [known.experiment_id], f"tags.`{MLFLOW_TAG}` = '{run}'", max_results=1
            )
            self._run_id = runs[0].info.run_id if runs else None


class _Asleep:
    """Stands for a client that is made when something is asked of it."""

    def __init__(self, logger: LazyMLFlowLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger._awake(), name)


def logger(job: Job, options: dict[str, Any]) -> MLFlowLogger:
    return LazyMLFlowLogger(options["tracking_uri"], options["experiment"], options["id"], options["name"])


def finish(logger: LazyMLFlowLogger) -> None:
    """Nothing was begun that would hold up the next trial."""
