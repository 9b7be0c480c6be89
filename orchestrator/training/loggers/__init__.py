"""Loggers of a segment, by the names that a sweep file's ``tracking`` has for them.

A tracker joins by a file here with ``logger(job, options)`` and an optional ``finish(logger)``, by its name in
``_FILES``, by its options in ``spec.trackers``, and where it talks to a server by a class in the room ``tracking``. No
logger here talks to a network unless the user's own code asks it to: epochs and steps are shipped by a process beside
the driver, from the journal and the CSV files.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.secrets import redact
from orchestrator.training.job import Job

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

log = logging.getLogger(__name__)

_FILES = ("wandb", "tensorboard", "mlflow")


def start(job: Job) -> dict[str, Logger]:
    """The loggers that the job asks for. One that cannot be had costs a notice, never the trial."""
    found = {}
    for name, options in job.tracking.items():
        if name not in _FILES:
            continue
        try:
            logger = _file(name).logger(job, options)
        except Exception as problem:  # whatever a tracker throws
            log.warning("trial %d goes on without %s: %s", job.trial, name, _said(problem))
            continue
        if logger is not None:
            found[name] = logger
    return found


def finish(loggers: dict[str, Logger]) -> None:
    """End what they have begun, so that the next trial of this process begins its own."""
    for name, logger in loggers.items():
        try:
            _file(name).finish(logger)
        except Exception as problem:
            log.warning("%s did not end its run: %s", name, _said(problem))


def _file(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {redact(str(problem))}"
