"""Publish a segment's checkpoints, logs and heartbeats to other machines.

In a folder that all machines share there is nothing to do. In object storage, each file is uploaded after it is
written here and fetched before it is read. A store that does not answer is retried for `PATIENCE_SECONDS`, since
nothing else is wrong with the segment.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import ObjectStoreError
from orchestrator.object_storage import objects
from orchestrator.training.job import Job

T = TypeVar("T")
PATIENCE_SECONDS = 120.0
HEARTBEAT_SECONDS = 5.0
_REMOTE_HEARTBEAT_SECONDS = 15.0  # longer, since each is a request that costs money


class Heartbeat:
    """Calls ``send`` at most every ``every`` seconds; otherwise :meth:`beat` costs one reading of the clock.

    It shows that batches are completed on the host. It does not wait for the device.

    Attributes:
        content: what a heartbeat in object storage carries: how far the segment is.
    """

    def __init__(self, send: Callable[[], None], every: float = HEARTBEAT_SECONDS) -> None:
        self.content = b""
        self._send = send
        self._every = every
        self._due = time.monotonic()

    def beat(self) -> None:
        """Record that a batch is done."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every
            self._send()


def touch(path: Path) -> None:
    """Set a file's modification time to now, by the file system's own clock; create the file if needed.

    Errors of the file system are ignored: a full or unresponsive disk is detected when checkpoints are written.
    """
    with suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def start_heartbeat(job: Job) -> Heartbeat:
    """Send the segment's first heartbeat and return the object that sends the others."""
    if not job.url:
        touch(job.heartbeat)
        return Heartbeat(partial(touch, job.heartbeat), HEARTBEAT_SECONDS)
    _send_remote(job, b"")
    heartbeat = Heartbeat(lambda: _send_remote(job, heartbeat.content), _REMOTE_HEARTBEAT_SECONDS)
    return heartbeat


def fetch(job: Job, relative: str) -> None:
    """Fetch that file of the run directory from object storage. Raises OSError if that fails."""
    if job.url:
        _retry(lambda: job.run.fetch(relative))


def publish(job: Job, path: Path) -> None:
    """Upload the file to object storage. Raises OSError if that fails."""
    _retry(lambda: job.run.publish(path))


def publish_checkpoint(job: Job, path: Path) -> None:
    """Upload the checkpoint, then delete the local copy of what is in object storage."""
    publish(job, path)
    if job.url:
        path.unlink()


def finish(job: Job) -> None:
    """Upload the logs of a segment that has ended, and delete its local checkpoints."""
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


def _send_remote(job: Job, content: bytes) -> None:
    """Upload a heartbeat in a thread, so that training does not wait for the network."""

    def put() -> None:
        with suppress(OSError):
            objects(f"{job.url}/progress").put(Path(job.folder).name, content)

    threading.Thread(target=put, name="heartbeat", daemon=True).start()


def _retry(step: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return step()
        except ObjectStoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
