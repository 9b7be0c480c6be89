"""Where a segment's metrics go besides its reports, always: a CSV file. What is asked for besides is in `loggers`."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


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
