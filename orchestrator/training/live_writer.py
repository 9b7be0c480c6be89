"""Write how far a segment is between two reports into a small file beside the run, in a thread.

The training thread notes numbers that it has anyway, after a batch, if the thread has asked for them since. What may
wait is the thread's: the loss, which may have to come from a device, the memory, NVML and the file. So a slow file
server or a device that is behind slows nothing.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from orchestrator.durable_files import make_folder, replace_file
from orchestrator.rundir.live_progress import LiveProgress
from orchestrator.training.gpu_use import gpu_use
from orchestrator.training.job import Job
from orchestrator.training.shared_storage import Heartbeat

INTERVAL_SECONDS = 2.0
"""The time between two writes."""
_LOSSES = 32  # of the last batches, whose mean is shown
_WINDOW = 10  # intervals that the speeds are measured over
_NOTING = 0.2  # the share of an interval in which the training thread notes a moment; a longer batch is shown later
_END_SECONDS = 2.0  # to wait for the thread, which may hang in a file server
_READABLE = frozenset({"cpu", "cuda", "mps"})  # devices whose tensors another thread may read; XLA's it must not
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Moment:
    """What the training thread notes after a batch.

    Attributes:
        place: ``epoch``, ``step``, ``samples`` and ``seconds``.
        batch: batches done in the epoch.
        batches: batches of the epoch; None if unknown.
        waited: seconds in which batches were awaited, since the segment began.
        clock: of ``time.perf_counter``.
    """

    place: Mapping[str, Any]
    batch: int
    batches: int | None
    waited: float = 0.0
    clock: float = field(default_factory=time.perf_counter)


class LiveWriter:
    """Writes a segment's `LiveProgress` every other second, from the first batch on.

    Args:
        job: the segment.
        send: takes the file's content in the thread; by default it is written to ``RunDirectory.live``.
    """

    def __init__(self, job: Job, send: Callable[[bytes], None] | None = None) -> None:
        self._job = job
        self._send = send or partial(_replace, job)
        self._is_due = False  # the thread asks for a moment
        self._losses: deque[Any] = deque(maxlen=_LOSSES)  # of the last batches, as they lie on the device
        self._waited, self._idle_since = 0.0, time.perf_counter()
        self.origin: float = job.checkpoint["epoch"] if job.checkpoint else 0
        """The epochs trained where the segment begins."""
        self._start: Moment | None = None
        self._moments: deque[Moment] = deque(maxlen=_WINDOW)
        self._validation: tuple[int, int | None] | None = None  # batches done, and all of them
        self._scale = 1
        self._device = torch.device("cpu")
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, trainer: L.Trainer, moment: Moment) -> None:
        """Start the thread, where training starts."""
        self._start, self._scale = moment, trainer.accumulate_grad_batches
        self._device = trainer.strategy.root_device
        self._thread = threading.Thread(target=self._run, name="live progress", daemon=True)
        self._thread.start()

    def idle(self) -> None:
        """Take that from now on a batch is awaited."""
        self._validation = None
        self._idle_since = time.perf_counter()

    def loaded(self) -> None:
        """Take that the batch has come."""
        self._waited += time.perf_counter() - self._idle_since

    def trained(self, outputs: Any) -> bool:
        """Take what a batch's training step gave; return whether a moment is to be noted."""
        if type(outputs) is dict:
            self._losses.append(outputs.get("loss"))
        self._idle_since = time.perf_counter()
        return self._is_due

    def note(self, moment: Moment) -> None:
        """Take the moment that `trained` asked for."""
        self._is_due = False
        self._moments.append(replace(moment, waited=self._waited))

    def validate(self, done: int, batches: int | None) -> None:
        """Take how many batches of a validation are done."""
        self._validation = done, batches

    def end(self) -> None:
        """End the thread and remove the file."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
        if not self._job.url:
            with suppress(OSError):
                self._job.run.live(self._job.trial).unlink(missing_ok=True)

    def _run(self) -> None:
        written: object = None
        # The training thread wakes nobody: on a busy machine this thread would take its processor at once.
        while not self._ended.wait((1 - _NOTING) * INTERVAL_SECONDS):
            self._is_due = True
            self._ended.wait(_NOTING * INTERVAL_SECONDS)
            state = (*list(self._moments)[-1:], self._validation)
            if state == written or state == (None,) or self._ended.is_set():
                continue
            with suppress(Exception):  # no part of the training: whatever fails here, training continues
                self._send(self._progress().to_bytes())
                written = state

    def _progress(self) -> LiveProgress:
        moments, validation, start = list(self._moments), self._validation, self._start
        assert start is not None
        last = moments[-1] if moments else start
        first = start if len(moments) < _WINDOW else moments[0]
        seconds = last.place["seconds"] - first.place["seconds"]
        steps, samples = (last.place[name] - first.place[name] for name in ("step", "samples"))
        done, batches = validation or (last.batch, last.batches)
        return LiveProgress(
            trial=self._job.trial,
            segment=self._job.segment,
            at=time.time(),
            phase="validation" if validation else "training",
            batch=done,
            batches=batches,
            place=last.place,
            start=start.place,
            elapsed=time.perf_counter() - start.clock,
            loss=self._loss(),
            samples_per_second=samples / seconds if seconds > 0 else None,
            step_seconds=seconds / steps if steps > 0 else None,
            data_wait=min(1.0, max(0.0, last.waited - first.waited) / seconds) if seconds > 0 else None,
            memory=_resident(),
            **_of_device(self._device),
        )

    def _loss(self) -> float | None:
        """Return the mean of the last losses, with one copy to the host; None if there are none."""
        losses = [loss for loss in list(self._losses) if isinstance(loss, Tensor) and loss.numel() == 1]
        if not losses or self._device.type not in _READABLE:
            return None
        if self._device.type == "cpu":
            return sum(map(float, losses)) / len(losses) * self._scale
        with suppress(RuntimeError):  # a CUDA graph has reused the memory of a module's own tensor
            mean = torch.stack([loss.detach().reshape(()).double() for loss in losses]).mean()
            return float(mean) * self._scale
        return None


def live_writer(job: Job, heartbeat: Heartbeat) -> LiveWriter:
    """Return the writer of a segment. In object storage each heartbeat takes the content along, for no further cost."""
    return LiveWriter(job, partial(setattr, heartbeat, "content") if job.url else None)


def finite(count: float) -> int | None:
    """Return a number of batches as an int; None if there is no end."""
    return int(count) if math.isfinite(count) else None


def _replace(job: Job, content: bytes) -> None:
    path = job.run.live(job.trial)
    make_folder(path.parent)
    replace_file(path, content)


def _resident() -> int | None:
    """Return this process's resident memory in bytes; None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # a third of the time that a Path takes
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


def _of_device(device: torch.device) -> dict[str, Any]:
    """Return what is known of a CUDA device: memory in bytes and the share of time in use."""
    if device.type != "cuda":
        return {}
    properties: Any = torch.cuda.get_device_properties(device)
    return {
        "device_memory": torch.cuda.memory_reserved(device),
        "device_total": int(properties.total_memory),
        "gpu": gpu_use(str(properties.uuid)),
    }
