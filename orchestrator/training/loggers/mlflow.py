"""A trial's ``MLFlowLogger``, which connects only when the user's own code uses the client or the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.training.compat_lightning import mlflow_client, mlflow_ids, set_mlflow_run_id
from orchestrator.training.job import Job
from orchestrator.training.loggers import IMPATIENT, MLFLOW_TAG


class LazyMLFlowLogger(MLFlowLogger):
    """An ``MLFlowLogger`` that ignores metrics: they are uploaded from the journal and the segment's CSV file.

    ``experiment`` is MLflow's client as usual, ``run_id`` the trial's run; using either may wait for the server.
    """

    def __init__(self, uri: str, experiment: str, run: str, name: str) -> None:
        Logger.__init__(self)  # not MLFlowLogger's: importing MLflow takes a second
        self._connected = False
        self._arguments = (uri, experiment, run, name)

    @property
    def experiment(self) -> Any:
        """MLflow's client, connected at its first use: Lightning reads this of every logger before training."""
        return _LazyClient(self)

    @property
    def run_id(self) -> str | None:
        """The id of the trial's run, which is found or created."""
        self._client()
        return mlflow_ids(self)[1]

    @property
    def experiment_id(self) -> str | None:
        """The id of the run's experiment."""
        self._client()
        return mlflow_ids(self)[0]

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return self._arguments[1]

    @property
    def version(self) -> str:
        """The sweep's id of the run."""
        return self._arguments[2]

    @property
    def save_dir(self) -> None:
        """None: no files are written here."""
        return None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing: metrics are uploaded from the segment's CSV file."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: the run has the trial's parameters already, under the sweep's names."""

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Do nothing: the run ends with the trial, which may have more segments."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Do nothing: the sweep keeps the checkpoints."""

    def _client(self) -> Any:
        if not self._connected:
            self._connect()
        return super().experiment

    def _connect(self) -> None:
        for variable, value in IMPATIENT.items():
            os.environ.setdefault(variable, value)
        uri, experiment, run, name = self._arguments
        super().__init__(experiment, run_name=name, tracking_uri=uri, tags={MLFLOW_TAG: run})
        self._connected = True
        client = mlflow_client(self)
        existing = client.get_experiment_by_name(experiment)
        if existing is not None:
            query = f"tags.`{MLFLOW_TAG}` = '{run}'"
            runs = client.search_runs([existing.experiment_id], query, max_results=1)
            set_mlflow_run_id(self, runs[0].info.run_id if runs else None)


class _LazyClient:
    """Passes each attribute access to the client of a logger, which connects at the first one."""

    def __init__(self, logger: LazyMLFlowLogger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger._client(), name)


def logger(job: Job, options: dict[str, Any]) -> MLFlowLogger:
    """Return the trial's logger."""
    return LazyMLFlowLogger(options["tracking_uri"], options["experiment"], options["id"], options["name"])
