"""What a segment shares with other machines: its checkpoints, logs and signs of life.

Where all see one folder there is nothing to do. In object storage each file is put there once it is written here, and
fetched before it is read; a store that does not answer is waited for, since nothing else is wrong with the segment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import ObjectStoreError
from orchestrator.object_storage import objects
from orchestrator.training.heartbeat import EVERY, Progress, touch
from orchestrator.training.job import Job

T = TypeVar("T")
PATIENCE_SECONDS = 120.0
_EVERY_AWAY = 15.0  # seconds between signs of life that are requests, and cost something


def fetch(job: Job, relative: str) -> None:
    """Have that file of the run directory here. Raises OSError where it cannot be had."""
    if job.url:
        _patiently(lambda: job.run.fetch(relative))


def publish(job: Job, path: Path) -> None:
    """Let others see the file. Raises OSError where that cannot be."""
    _patiently(lambda: job.run.publish(path))


def publish_checkpoint(job: Job, path: Path) -> None:
    """As `publish`; where it has gone elsewhere, the file here is of no more use."""
    publish(job, path)
    if job.url:
        path.unlink()


def progress(job: Job) -> Progress:
    """The segment's signs of life, of which this is the first."""
    sign = partial(_put, job) if job.url else partial(touch, job.progress)
    sign()
    return Progress(sign, _EVERY_AWAY if job.url else EVERY)


def leave(job: Job) -> None:
    """The segment has ended: its logs go to where all see them, and nothing that is large stays here."""
    if not job.url:
        return
    for path in job.checkpoints.glob("*"):
        with suppress(OSError):
            path.unlink()
    folders = [Path(job.folder) / "logs", Path(job.folder) / "tensorboard"]
    if "wandb" in job.tracking:
        part = f"wandb/offline-run-*-{job.tracking['wandb']['id']}-segment-{job.segment}"
        folders += job.run_directory.glob(part)
    for folder in folders:
        with suppress(OSError):
            job.run.publish(folder)


def _put(job: Job) -> None:
    """Beside the training, which does not wait for it."""

    def put() -> None:
        with suppress(OSError):
            objects(f"{job.url}/progress").put(Path(job.folder).name, b"")

    threading.Thread(target=put, name="sign of life", daemon=True).start()


def _patiently(step: Callable[[], T]) -> T:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return step()
        except ObjectStoreError:
            if time.monotonic() > until:
                raise
            time.sleep(1.0)
