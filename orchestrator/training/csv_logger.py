"""Write every segment's metrics to a CSV file. The optional trackers are in `orchestrator.training.loggers`."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from orchestrator.secrets import allow, masked


class EpochCSVLogger(Logger):
    """Writes ``metrics.csv`` with one row for each step at which something was logged: an epoch's values share a row.

    The file is written at :meth:`flush`, once an epoch, and when training ends. Lightning's own CSVLogger appends to
    the file at every call, and writes one row for training and one for validation. Logging a row twice is harmless.

    Args:
        folder: the folder of ``metrics.csv``; a file from an earlier run of the same segment is replaced.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._rows: dict[int, dict[str, Any]] = {}
        self._columns: dict[str, None] = {"step": None, "epoch": None}
        self._written = 0
        self._experiment = _Experiment(folder)
        self._stale = True  # the file's rows are not the first rows any more: write all of them again

    @property
    def name(self) -> str:
        """Empty: the folder is that of the segment."""
        return ""

    @property
    def version(self) -> str:
        """The folder's name."""
        return self._folder.name

    @property
    def save_dir(self) -> str:
        """The folder's parent."""
        return str(self._folder.parent)

    @property
    def log_dir(self) -> str:
        """The folder of ``metrics.csv``."""
        return str(self._folder)

    @property
    def root_dir(self) -> str:
        """The folder's parent, as a TensorBoardLogger has it."""
        return self.save_dir

    @property
    @rank_zero_experiment  # returns a writer that does nothing in other ranks
    def experiment(self) -> Any:
        """The writer that Lightning's default logger has, for a module that logs figures or histograms by itself.

        It is TensorBoard's SummaryWriter if TensorBoard or tensorboardX is installed, else a CSV writer. It writes to
        this folder, and nothing before its first use.
        """
        return self._experiment

    @property
    def path(self) -> Path:
        """The path of ``metrics.csv``."""
        return self._folder / "metrics.csv"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a trial's parameters are in the sweep's journal."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the metrics to the row of ``step``; without a step, to a new row."""
        number = len(self._rows) if step is None else step
        row = self._rows.setdefault(number, {"step": number})
        if {name: row[name] for name in metrics if name in row} == dict(metrics):
            return
        row.update(metrics)
        self._stale |= len(self._rows) <= self._written or any(name not in self._columns for name in metrics)
        self._columns.update(dict.fromkeys(metrics))
        allow(list(metrics))

    @rank_zero_only
    def flush(self) -> None:
        """Write all rows to the file."""
        rows = list(self._rows.values())
        if not rows or (len(rows) == self._written and not self._stale):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("w" if self._stale else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self._columns))
            if self._stale:
                csv.writer(file).writerow(map(masked, self._columns))
            writer.writerows(rows if self._stale else rows[self._written :])
        self._written, self._stale = len(rows), False

    def finalize(self, status: str) -> None:
        """Write the last rows, and close the writer of `experiment`."""
        self._experiment.finish()
        # After a failure, a full disk must not hide the error that ended training.
        with suppress(OSError) if status == "failed" else nullcontext():
            self.flush()


class _Experiment:
    """The default logger's writer, made when it is first used: Lightning reads every logger's `experiment` itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._writer is None:
            try:
                default: Any = TensorBoardLogger(self._folder, name="", version="")
            except ModuleNotFoundError:
                default = CSVLogger(self._folder, name="", version="experiment")
            self._writer = default.experiment
        return getattr(self._writer, name)

    def finish(self) -> None:
        """Close the writer, if there is one that can be closed."""
        if hasattr(self._writer, "close"):
            self._writer.close()
        self._writer = None
