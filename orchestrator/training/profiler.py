"""What a configuration costs, after a few real steps: seconds an epoch, memory at its peak, bytes of a checkpoint.

    python -m orchestrator.training.profiler < {"roots": […], "jobs": [{…}, …]}

prints one line of JSON for each job, as it is done. It is a process of its own because memory at its peak is that of a
whole process, and because what does not fit may take the process with it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from orchestrator.training.fit_segment import fit
from orchestrator.training.job import Job, Measured
from orchestrator.training.memory import give_back_memory

_WARM_STEPS = 3
_STEPS = 20
_VALIDATED = 10
_ENOUGH_SECONDS = 8.0
_PEAK = re.compile(r"VmHWM:\s*(\d+) kB")


class Enough(Exception):
    """The measurement is done. Nobody outside `measure` sees it."""

    def __init__(self, measured: Measured) -> None:
        super().__init__("measured")
        self.measured = measured


class Meter(L.Callback):
    """Times training and validation batches, saves one checkpoint, and ends the training by `Enough`."""

    def __init__(self, steps: int = _STEPS) -> None:
        self._wanted = steps + _WARM_STEPS
        self._train: list[float] = []
        self._validation: list[float] = []
        self._since = self._began = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = self._since = _now()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self._train.append(self._lap())
        if len(self._train) >= self._wanted or self._overdue(self._train):
            trainer.should_stop = True  # validation comes next, and then the end

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = self._since = _now()

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self._validation.append(self._lap())
        if len(self._validation) >= _VALIDATED or self._overdue(self._validation):
            self._end(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end(trainer)

    def _lap(self) -> float:
        now = _now()
        lap, self._since = now - self._since, now
        return lap

    def _overdue(self, laps: list[float]) -> bool:
        return len(laps) > 1 and self._since - self._began > _ENOUGH_SECONDS

    def _end(self, trainer: L.Trainer) -> None:
        size, saving = _saved(trainer)
        validated = sum(trainer.num_val_batches) if self._validation else 0
        seconds = _epoch(self._train, trainer.num_training_batches) + _epoch(self._validation, validated) + saving
        known = seconds if math.isfinite(seconds) else None
        raise Enough(Measured(known, _peak(), *_device(), size, len(self._train)))


def measure(job: Job, steps: int = _STEPS) -> Measured:
    """Train a few steps, validate a few batches and save once, by all that a trial goes through.

    Raises whatever the user's classes and Lightning raise.
    """
    meter = {"class_path": f"{__spec__.name}.Meter", "init_args": {"steps": steps}}
    callbacks = job.trainer.get("callbacks") or []
    ours = {"min_epochs": None, "min_steps": None, "check_val_every_n_epoch": 1, "logger": False}
    trainer = {**job.trainer, **ours, "callbacks": [*callbacks, meter]}
    _forget_peak()
    with tempfile.TemporaryDirectory(prefix="sweep-plan-") as folder:
        try:
            fit(replace(job, trainer=trainer, folder=f"{folder}/trials/0000", url=""), lambda report: False)
        except Exception as error:
            if type(error).__name__ != "Enough":
                raise
            measured: Measured = error.measured  # type: ignore[attr-defined]
            return measured
    raise RuntimeError("the training came to its end and nothing was measured")


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _now() -> float:
    """The time once the device has done what it was given."""
    if _on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def _epoch(laps: list[float], batches: float) -> float:
    """Seconds of so many batches; the first few are left out where there are others."""
    if not laps or not batches:
        return 0.0
    return statistics.median(laps[_WARM_STEPS:] or laps) * batches


def _saved(trainer: L.Trainer) -> tuple[int, float]:
    """Bytes of a checkpoint, and the seconds that it takes."""
    began = _now()
    with tempfile.TemporaryDirectory(prefix="sweep-plan-") as folder:
        path = Path(folder) / "checkpoint"
        trainer.save_checkpoint(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files), _now() - began


def _device() -> tuple[int, int]:
    """The device's memory at its peak, and how much it has; both 0 without one.

    What CUDA and its libraries hold beside torch's own counts, some hundred megabytes a process; so does, for they
    cannot be told apart, what other processes hold there now.
    """
    if not _on_gpu():
        return 0, 0
    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return torch.cuda.max_memory_reserved() + max(0, beside), total


def _forget_peak() -> None:
    """Begin anew with the memory at its peak, where the system can: Linux does for what is written here."""
    give_back_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    """This process's resident memory at its peak, in bytes; processes that load its data do not count."""
    with suppress(OSError):
        if found := _PEAK.search(Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(asked: Mapping[str, Any]) -> None:
    """Measure each job. One that fails is told as ``{"error": …}``, and the next is measured all the same."""
    for root in reversed(asked["roots"]):
        sys.path.insert(0, root)
    for job in asked["jobs"]:
        try:
            told = asdict(measure(Job(**job), asked.get("steps", _STEPS)))
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"[:1000]}
        sys.__stdout__.write(json.dumps(told) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    sys.stdout = sys.stderr  # what a module prints is not among the answers
    main(given)
