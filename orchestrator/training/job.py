"""What goes into one segment of training and what comes out of it: plain values, no heavy imports."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from orchestrator.rundir import RunDirectory, run_of


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file as it was when last read back.

    ``path`` is relative to the run directory (``trials/0007/checkpoints/epoch=0003-segment=0.ckpt``), ``size`` in
    bytes, ``epoch`` the count of finished epochs that it holds.
    """

    path: str
    size: int
    sha256: str
    epoch: int


@dataclass(frozen=True)
class Report:
    """One finished epoch: ``epoch`` counts from 1, ``checkpoint`` is on disk and verified.

    ``metrics`` are the epoch's values, NaN where the module logged NaN.
    """

    epoch: int
    metrics: dict[str, float]
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class Measured:
    """What a configuration costs: see ``training.measuring``.

    ``seconds`` are those of an epoch with its validation and checkpoint, None where nobody knows how many batches it
    has; ``memory`` and ``device_memory`` are at their peak, of ``device_total``; they and ``checkpoint`` are in bytes;
    so many training ``steps`` were timed.
    """

    seconds: float | None
    memory: int
    device_memory: int
    device_total: int
    checkpoint: int
    steps: int


@dataclass(frozen=True)
class Job:
    """One segment to train. JSON values only: ``Job(**dataclasses.asdict(job))`` is the same job on another machine.

    Args:
        trial: number of the trial in its sweep.
        segment: number of the segment in its trial, from 0.
        seed: the trial's seed; every segment of a trial has the same.
        metric: the objective, a name that the module logs.
        required: other metrics that each report must hold.
        model: ``{class_path, init_args}`` of a LightningModule.
        data: ``{class_path, init_args}`` of a LightningDataModule, or None where the module brings its own loaders.
        trainer: arguments of ``lightning.Trainer``; objects among them as ``{class_path, init_args}``.
        folder: the trial's folder, absolute: ``<run directory>/trials/0007``.
        checkpoint: a :class:`Checkpoint` as a dict, to go on from; None to start afresh.
        new_params: whether the checkpoint was trained with other hyperparameters: these replace them in the optimizers.
        tracking: for each tracker by its name, its options and what the trial's run is called there (see `tracked`).
        threads: CPU threads for torch; None leaves the process's.
        url: the run directory's in object storage; empty where the folder is one that all see. Each machine then has a
            folder of its own (see `here`).
        workers: processes that train it together; each calls `fit`, with the environment that torchrun would give it
            (RANK, WORLD_SIZE, MASTER_ADDR, …), and the one of rank 0 reports.
    """

    trial: int
    segment: int
    seed: int
    metric: str
    model: dict[str, Any]
    data: dict[str, Any] | None
    trainer: dict[str, Any]
    folder: str
    checkpoint: dict[str, Any] | None = None
    new_params: bool = False
    tracking: dict[str, dict[str, Any]] = field(default_factory=dict)
    threads: int | None = None
    required: list[str] = field(default_factory=list)
    workers: int = 1
    url: str = ""

    def here(self) -> Job:
        """The same job with the folder that this machine has for it."""
        return replace(self, folder=str(self.run.trial(self.trial))) if self.url else self

    @property
    def run(self) -> RunDirectory:
        """The sweep's run directory."""
        return run_of(self.url or str(self.run_directory))

    @property
    def run_directory(self) -> Path:
        """The sweep's run directory, which checkpoint paths are relative to."""
        return Path(self.folder).parents[1]

    @property
    def checkpoints(self) -> Path:
        return Path(self.folder) / "checkpoints"

    @property
    def progress(self) -> Path:
        """An empty file, touched while the segment gets on with its batches: see ``training.progress``."""
        return Path(self.folder) / "progress"

    @property
    def logs(self) -> Path:
        """This segment's own log folder."""
        return Path(self.folder) / "logs" / f"segment_{self.segment}"


def tracked(
    wanted: dict[str, dict[str, Any]], run: RunDirectory, began: float, trial: int | str
) -> dict[str, dict[str, Any]]:
    """The trackers' options with defaults filled in, and ``id``, ``name`` and ``group`` of a trial's run.

    ``trial`` is a number, or what else the sweep has a run for. The id is the same for all segments of a trial, and
    another for a sweep of the same name that began (Unix seconds) at another time; it has at most 64 characters.
    """
    if not wanted:
        return {}
    what = f"{trial:04d}" if isinstance(trial, int) else trial
    age = blake2b(f"{run.name} {began!r}".encode(), digest_size=4).hexdigest()
    named = {"id": f"{run.name[:40]}-{age}-{what}", "name": f"{run.name}-{what}", "group": run.name}
    return {name: {**_filled(name, options, run), **named} for name, options in wanted.items()}


def _filled(tracker: str, options: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
    if tracker != "mlflow":
        return options
    uri = options["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI") or (run.root / "mlruns").as_uri()
    return {"tracking_uri": uri, "experiment": options["experiment"] or run.name}
