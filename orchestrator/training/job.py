"""The input and output of one segment of training: plain values, no heavy imports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from orchestrator import registry
from orchestrator.rundir import RunDirectory, run_of


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file as it was read back after writing.

    Attributes:
        path: relative to the run directory: ``trials/0007/checkpoints/epoch=0003-segment=0.ckpt``.
        size: in bytes.
        sha256: hexadecimal.
        epoch: the number of finished epochs, a fraction within one.
        precision: what ``precision: auto`` came to, such as ``bf16-mixed``; empty if the sweep file names another.
    """

    path: str
    size: int
    sha256: str
    epoch: float
    precision: str = ""


@dataclass(frozen=True)
class Report:
    """One validation.

    Attributes:
        epoch: the epochs trained: an int when whole, else a fraction such as 0.75.
        metrics: the values at that moment, NaN if the module logged NaN.
        checkpoint: on disk and verified; None on ranks other than 0.
        found: what finders have set in the trial: ``{"learning_rate": 0.02}``.
        step: the optimizer steps taken.
        samples: the samples trained on, over all processes.
        seconds: of training, over all segments.
        counters: what the module counts and logs: ``{"tokens_seen": 2e6}``.
        unreported: how many validations since the last report had not logged the objective.
        saving: seconds that the checkpoint took.
    """

    epoch: float
    metrics: dict[str, float]
    checkpoint: Checkpoint | None
    found: dict[str, float] = field(default_factory=dict)
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    unreported: int = 0
    saving: float = 0.0

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Report:
        """Return the report whose fields, as ``asdict`` gives them, a worker has sent."""
        saved = Checkpoint(**fields["checkpoint"]) if fields["checkpoint"] else None
        return cls(**{**fields, "checkpoint": saved})


@dataclass(frozen=True)
class Interim:
    """A checkpoint between two reports. The fields are those of a `Report` without metrics."""

    epoch: float
    checkpoint: Checkpoint | None
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    unreported: int = 0
    saving: float = 0.0

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Interim:
        """Return what a worker has sent as the fields that ``asdict`` gives."""
        saved = Checkpoint(**fields["checkpoint"]) if fields["checkpoint"] else None
        return cls(**{**fields, "checkpoint": saved})


@dataclass(frozen=True)
class Measured:
    """The cost of a configuration, as `orchestrator.training.profiler` measures it.

    Attributes:
        seconds: of an epoch with its validation and checkpoint; None if its number of batches is unknown.
        memory: peak resident memory of the process, in bytes.
        device_memory: peak memory of the device, in bytes; 0 without a device.
        device_total: memory that the device has, in bytes; 0 without a device.
        checkpoint: size of a checkpoint, in bytes.
        steps: the number of training steps that were timed.
        rates: seconds for one of a unit of progress, validation and checkpoints included: of epochs, steps, samples,
            and of each number that the module logs, as ``metric:NAME``.
    """

    seconds: float | None
    memory: int
    device_memory: int
    device_total: int
    checkpoint: int
    steps: int
    rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One segment to train. It holds JSON values only, so that it can be sent to another machine.

    Attributes:
        trial: number of the trial in its sweep.
        segment: number of the segment in its trial, from 0.
        seed: the trial's seed; every segment of a trial has the same.
        metric: the objective, a name that the module logs.
        required: other metrics that each report must hold.
        model: ``{class_path, init_args}`` of a LightningModule.
        data: ``{class_path, init_args}`` of a LightningDataModule, or None if the module has its own loaders.
        trainer: arguments of ``lightning.Trainer``; objects among them as ``{class_path, init_args}``.
        folder: the trial's folder, absolute: ``<run directory>/trials/0007``.
        checkpoint: a :class:`Checkpoint` as a dict, to resume from; None to start afresh.
        new_params: whether the checkpoint was trained with other hyperparameters, to be replaced in the optimizers.
        tracking: for each tracker by its name, its options and the trial's run there (see `tracking_options`).
        threads: CPU threads for torch; None keeps the process's number.
        workers: processes that train the segment together. Each calls `fit` with the environment that torchrun would
            set (RANK, WORLD_SIZE, MASTER_ADDR, …), and rank 0 reports.
        url: the run directory's URL in object storage, where each machine has a local folder (see `localized`); empty
            if all machines share ``folder``.
        progress: what the sweep file says of progress: its ``unit``, the span ``every`` between two reports and the end
            ``until``, both numbers in that unit; empty if it says nothing.
        save_every: how often to save checkpoints between two reports: after so many ``seconds``, or after so much
            ``progress`` in its unit; empty for so often that they take at most 5 % of the time; None for never.
        precision: what ``precision: auto`` came to when ``checkpoint`` was trained; empty where that is not on record.
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
    progress: dict[str, Any] = field(default_factory=dict)
    save_every: dict[str, float] | None = field(default_factory=dict)
    precision: str = ""

    def to_text(self) -> str:
        """Return the order of this segment for a worker: JSON, which `from_text` reads on any machine."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> Job:
        """Return the segment that an order describes."""
        return cls(**json.loads(text))

    def localized(self) -> Job:
        """Return the same job with this machine's local folder for it."""
        return replace(self, folder=str(self.run.trial(self.trial))) if self.url else self

    @property
    def run(self) -> RunDirectory:
        """The sweep's run directory."""
        return run_of(self.url or str(self.run_directory))

    @property
    def run_directory(self) -> Path:
        """The local path of the run directory, to which checkpoint paths are relative."""
        return Path(self.folder).parents[1]

    @property
    def checkpoints(self) -> Path:
        """The folder of the trial's checkpoints."""
        return Path(self.folder) / "checkpoints"

    @property
    def heartbeat(self) -> Path:
        """An empty file, touched while the segment completes batches (see `orchestrator.training.shared_storage`)."""
        return Path(self.folder) / "progress"

    @property
    def is_code(self) -> bool:
        """Whether a function or a script trains the segment, not a LightningModule that the job names."""
        return "class_path" not in self.model

    @property
    def stop_notice(self) -> Path:
        """The file in which the driver tells a segment, by its number, to end at the next batch."""
        return Path(self.folder) / "stop"

    @property
    def logs(self) -> Path:
        """This segment's own log folder."""
        return Path(self.folder) / "logs" / f"segment_{self.segment}"


def model_name(model: Mapping[str, Any]) -> str:
    """Return what a person calls a job's ``model``: its class, or the function or script that makes it."""
    words = (
        model.get("class_path") or model.get("train") or model.get("program") or " ".join(model.get("command") or ())
    )
    return str(words)


def tracking_options(
    trackers: dict[str, dict[str, Any]], run: RunDirectory, started: float, trial: int | str
) -> dict[str, dict[str, Any]]:
    """Return the trackers' options with defaults filled in, and ``id``, ``name`` and ``group`` of a trial's run.

    ``trial`` is a number, or the label of another run of the sweep. The id is the same for all segments of a trial. It
    differs for a sweep of the same name that started at another time (Unix seconds), and has at most 64 characters.
    """
    if not trackers:
        return {}
    label = f"{trial:04d}" if isinstance(trial, int) else trial
    digest = blake2b(f"{run.name} {started!r}".encode(), digest_size=4).hexdigest()
    identity = {"id": f"{run.name[:40]}-{digest}-{label}", "name": f"{run.name}-{label}", "group": run.name}
    return {
        name: {**registry.load("trackers", name).with_defaults(options, run), **identity}
        for name, options in trackers.items()
    }
