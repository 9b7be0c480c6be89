"""Where a segment's metrics go besides its reports: a CSV file always, W&B when asked."""

from __future__ import annotations

import csv
import logging
import os
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.secrets import redact
from orchestrator.training.job import Job

log = logging.getLogger(__name__)


class EpochCSVLogger(Logger):
    """``metrics.csv`` with one row a step at which anything was logged: an epoch's values stand in one row.

    The file is written at :meth:`flush`, once an epoch, and when training ends. Lightning's own CSVLogger opens and
    appends to it at every call, and has one row for training and one for validation. Logging a row twice is harmless.

    Args:
        folder: where ``metrics.csv`` goes; a file from an earlier run of the same segment is replaced.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._rows: dict[int, dict[str, Any]] = {}
        self._columns: dict[str, None] = {"step": None, "epoch": None}
        self._written = 0
        self._stale = True  # what the file holds is not the beginning of what it has to hold

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return self._folder.name

    @property
    def save_dir(self) -> str:
        return str(self._folder.parent)

    @property
    def log_dir(self) -> str:
        return str(self._folder)

    @property
    def path(self) -> Path:
        return self._folder / "metrics.csv"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: a trial's parameters are in the sweep's journal."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        number = len(self._rows) if step is None else step
        row = self._rows.setdefault(number, {"step": number})
        known = {name: row[name] for name in metrics if name in row}
        if known == dict(metrics):
            return
        row.update(metrics)
        self._stale |= len(self._rows) <= self._written or any(name not in self._columns for name in metrics)
        self._columns.update(dict.fromkeys(metrics))

    @rank_zero_only
    def flush(self) -> None:
        """Put every row into the file."""
        rows = list(self._rows.values())
        if not rows or (len(rows) == self._written and not self._stale):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("w" if self._stale else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self._columns))
            if self._stale:
                writer.writeheader()
            writer.writerows(rows if self._stale else rows[self._written :])
        self._written, self._stale = len(rows), False

    def finalize(self, status: str) -> None:
        """The last rows. Where training has failed, a disk that takes no more must not hide why."""
        with suppress(OSError) if status == "failed" else nullcontext():
            self.flush()


def wandb_logger(job: Job) -> Logger | None:
    """A started ``WandbLogger`` for the job's trial, or None, with a notice, where W&B cannot be had.

    The run's id depends on sweep, trial and seed alone, so all segments of a trial write to one W&B run. ``mode: auto``
    is ``online`` where a key is configured and ``offline`` otherwise. Training never fails for W&B's sake.
    """
    wanted = job.wandb or {}
    mode = wandb_mode(wanted.get("mode") or "auto")
    if mode == "disabled":
        return None
    try:
        return _start_wandb(job, wanted, mode)
    except Exception as problem:  # whatever W&B or its network throws, it costs the trial only its W&B run
        log.warning("trial %d goes on without W&B: %s: %s", job.trial, type(problem).__name__, redact(str(problem)))
        return None


def finish_wandb(logger: Any) -> None:
    """End the W&B run, so that the next trial of this process starts its own."""
    if logger is None:
        return
    try:
        logger.experiment.finish()
    except Exception as problem:
        log.warning("W&B did not end its run: %s: %s", type(problem).__name__, redact(str(problem)))


def _start_wandb(job: Job, wanted: dict[str, Any], mode: str) -> Logger:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    sweep = job.run_directory.name
    job.logs.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        project=wanted.get("project") or sweep,
        entity=wanted.get("entity"),
        name=f"{sweep}-{job.trial:04d}",
        id=f"{sweep}-{job.trial:04d}-{job.seed:08x}",
        group=sweep,
        resume="allow",
        save_dir=str(Path(job.folder) / "logs"),
        mode=mode,
        settings=wandb.Settings(console="off", silent=True),
    )
    logger.experiment.config.update(
        {"model": job.model, "data": job.data, "trainer": job.trainer, "trial": job.trial, "seed": job.seed},
        allow_val_change=True,
    )
    return logger


def wandb_mode(mode: str) -> str:
    """What W&B is asked for: ``auto`` is the environment's mode, else online where a key is configured, or offline."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _wandb_key_configured() else "offline")


def _wandb_key_configured() -> bool:
    """Where W&B looks: the environment, then the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
