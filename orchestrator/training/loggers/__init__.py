"""Build a segment's loggers from the sweep file's ``tracking`` section.

The registry finds each tracker's class, whose ``logger(job, options)`` and ``finish(logger)`` are called. No built-in
logger uses the network unless the user's own code does: a process of the driver uploads epochs and steps, from the
journal and the CSV files (see `orchestrator.tracking`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator import registry
from orchestrator.errors import describe
from orchestrator.secrets import masked
from orchestrator.training.job import Job

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

log = logging.getLogger(__name__)

# W&B's settings: nothing is printed or measured. Without the last one `wandb.init` lists every package: 200 ms, not 10.
QUIET: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}

# By default, MLflow retries a server that does not answer for more than ten minutes.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
MLFLOW_TAG = "sweep.run"
"""The tag of an MLflow run that holds the sweep's id of it."""


def start(job: Job) -> dict[str, Logger]:
    """Return the job's loggers by tracker. One that cannot be built is reported by a warning; the trial continues."""
    loggers = {}
    for name, options in job.tracking.items():
        try:
            logger = registry.load("trackers", name).logger(job, options)
        except Exception as error:  # a tracker may raise any error
            log.warning("trial %d continues without %s: %s", job.trial, name, _text(error))
            continue
        if logger is not None:
            loggers[name] = logger
    return loggers


@contextmanager
def own_wandb_run() -> Iterator[None]:
    """End the W&B run that a module or a logger of the user's starts, which the next trial would log to as well."""
    before = _active_wandb_run()
    try:
        yield
    finally:
        run = _active_wandb_run()
        if run is not None and run is not before:
            run.finish()


def _active_wandb_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)


def finish(loggers: dict[str, Logger]) -> None:
    """End the loggers' runs, so that the next trial of this process starts its own."""
    for name, logger in loggers.items():
        try:
            registry.load("trackers", name).finish(logger)
        except Exception as error:
            log.warning("%s failed to end its run: %s", name, _text(error))


def _text(error: Exception) -> str:
    return masked(describe(error))
