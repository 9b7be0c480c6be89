"""Measure the cost of a configuration in a few real steps: seconds of an epoch, peak memory, bytes of a checkpoint.

    python -m orchestrator.training.profiler < {"roots": […], "jobs": [{…}, …]}

prints one line of JSON for each job when it is done. It runs as a process of its own because peak memory is that of a
process, and because a configuration that does not fit in memory may kill the process.
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

from orchestrator.errors import describe
from orchestrator.training.fit_segment import fit
from orchestrator.training.job import Job, Measured
from orchestrator.training.memory import release_memory
from orchestrator.training.progress_meter import batch_size

_WARM_STEPS = 3
_STEPS = 20
_VALIDATION_STEPS = 10
_LONGEST_SECONDS = 8.0  # of training, and again of validation
_PEAK = re.compile(r"VmHWM:\s*(\d+) kB")


class ProfilingDone(Exception):
    """Ends the training when the measurement is complete. It never leaves `measure`."""

    def __init__(self, measured: Measured) -> None:
        super().__init__("measured")
        self.measured = measured


class Meter(L.Callback):
    """Times training and validation batches, saves one checkpoint, and ends the training by `ProfilingDone`.

    Args:
        steps: training steps to time, after the warm-up.
    """

    def __init__(self, steps: int = _STEPS) -> None:
        self._train_steps = steps + _WARM_STEPS
        self._train: list[float] = []
        self._validation: list[float] = []
        self._lap_start = self._phase_start = 0.0
        self._samples = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of training."""
        self._phase_start = self._lap_start = _now()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time a training batch; stop training after the last one to time."""
        self._train.append(self._lap())
        self._samples += batch_size(batch) * trainer.world_size
        if len(self._train) >= self._train_steps or self._is_overdue(self._train):
            trainer.should_stop = True  # Lightning validates before it stops

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of validation."""
        self._phase_start = self._lap_start = _now()

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Time a validation batch; end the training after the last one to time."""
        self._validation.append(self._lap())
        if len(self._validation) >= _VALIDATION_STEPS or self._is_overdue(self._validation):
            self._end(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the training, if validation was shorter than the steps to time."""
        self._end(trainer)

    def _lap(self) -> float:
        now = _now()
        seconds, self._lap_start = now - self._lap_start, now
        return seconds

    def _is_overdue(self, laps: list[float]) -> bool:
        return len(laps) > 1 and self._lap_start - self._phase_start > _LONGEST_SECONDS

    def _end(self, trainer: L.Trainer) -> None:
        size, saving = _checkpoint_cost(trainer)
        validated = sum(trainer.num_val_batches) if self._validation else 0
        seconds = (
            _epoch_seconds(self._train, trainer.num_training_batches)
            + _epoch_seconds(self._validation, validated)
            + saving
        )
        epoch = seconds if math.isfinite(seconds) else None
        rates = self._rates(trainer, seconds)
        raise ProfilingDone(Measured(epoch, _peak_memory(), *_device_memory(), size, len(self._train), rates))

    def _rates(self, trainer: L.Trainer, epoch: float) -> dict[str, float]:
        """Return the seconds for one of each unit of progress, given those of an epoch, which may be infinite."""
        batches = trainer.num_training_batches
        usual = statistics.median(self._train[_WARM_STEPS:] or self._train)
        seconds = len(self._train) * (epoch / batches if math.isfinite(epoch) and batches else usual)
        done = {"steps": float(trainer.global_step), "samples": float(self._samples)}
        logged = trainer.callback_metrics
        done |= {f"metric:{name}": float(value) for name, value in logged.items() if _is_number(value)}
        rates = {unit: seconds / amount for unit, amount in done.items() if 0 < amount < math.inf}
        return rates | ({"epochs": epoch} if math.isfinite(epoch) else {})


def measure(job: Job, steps: int = _STEPS) -> Measured:
    """Train a few steps, validate a few batches and save one checkpoint, by the same code as a trial.

    Errors of the user's classes and of Lightning pass through.
    """
    meter = {"class_path": f"{__spec__.name}.Meter", "init_args": {"steps": steps}}
    callbacks = job.trainer.get("callbacks") or []
    fixed = {"min_epochs": None, "min_steps": None, "check_val_every_n_epoch": 1, "logger": False}
    trainer = {**job.trainer, **fixed, "callbacks": [*callbacks, meter]}
    _reset_peak_memory()
    with tempfile.TemporaryDirectory(prefix="sweep-plan-") as folder:
        try:
            fit(replace(job, trainer=trainer, folder=f"{folder}/trials/0000", url=""), lambda report: True)
        except Exception as error:
            # By name: under `python -m` the class that the callback raises is that of another module object.
            if type(error).__name__ != "ProfilingDone":
                raise
            measured: Measured = error.measured  # type: ignore[attr-defined]
            return measured
    raise RuntimeError("training ended before anything was measured")


def _is_number(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) or value.numel() == 1


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _now() -> float:
    """Return the time after the device has finished its work, in seconds."""
    if _on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def _epoch_seconds(laps: list[float], batches: float) -> float:
    """Return the seconds of so many batches, by the median lap; the warm-up is left out if there are other laps."""
    if not laps or not batches:
        return 0.0
    return statistics.median(laps[_WARM_STEPS:] or laps) * batches


def _checkpoint_cost(trainer: L.Trainer) -> tuple[int, float]:
    """Save a checkpoint; return its bytes and the seconds that saving takes."""
    start = _now()
    with tempfile.TemporaryDirectory(prefix="sweep-plan-") as folder:
        path = Path(folder) / "checkpoint"
        trainer.save_checkpoint(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files), _now() - start


def _device_memory() -> tuple[int, int]:
    """Return the device's peak memory and its total memory, in bytes; both 0 without a device.

    The peak includes what CUDA and its libraries hold in addition to torch's memory, some hundred megabytes a process.
    Memory that other processes hold now is included, too, since it cannot be distinguished from that.
    """
    if not _on_gpu():
        return 0, 0
    free, total = torch.cuda.mem_get_info()
    outside_torch = total - free - torch.cuda.memory_reserved()
    return torch.cuda.max_memory_reserved() + max(0, outside_torch), total


def _reset_peak_memory() -> None:
    """Reset the recorded peak memory; for host memory, Linux does this on a write to ``clear_refs`` (see proc(5))."""
    release_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> int:
    """Return this process's peak resident memory in bytes, without that of its data-loading processes."""
    with suppress(OSError):
        if match := _PEAK.search(Path("/proc/self/status").read_text()):
            return int(match[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(request: Mapping[str, Any]) -> None:
    """Measure each job and print the result. A job that fails gives ``{"error": …}`` and does not affect the next."""
    for root in reversed(request["roots"]):
        sys.path.insert(0, root)
    for job in request["jobs"]:
        try:
            result = asdict(measure(Job(**job), request.get("steps", _STEPS)))
        except (Exception, SystemExit) as error:
            result = {"error": describe(error)[:1000]}
        sys.__stdout__.write(json.dumps(result) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    request = json.load(sys.stdin)
    sys.stdout = sys.stderr  # keep what a user's module prints out of the results
    main(request)
