"""How a segment in a worker process learns that it is to stop: a file of its trial, which is polled."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType

from orchestrator.errors import SweepError
from orchestrator.object_storage import objects
from orchestrator.training.job import Job

_POLL_SECONDS = 0.5
_REMOTE_POLL_SECONDS = 2.0  # longer, since each is a request that costs money


class StopNotice:
    """Returns, when called, whether the driver has told this segment to stop. It costs one reading of the clock.

    ``is_told`` says whether a call has returned True.

    The file exists from the start and is opened at each poll: on NFS the name of a new file may stay unknown for a
    minute, but what another host has written to a file is there at the next open. In object storage a thread polls, so
    that training does not wait for the network.
    """

    def __init__(self, job: Job) -> None:
        self._job = job.localized()
        self._segment = str(job.segment).encode()
        self.is_told = self._is_found = False
        self._poll_at = 0.0
        self._closed = threading.Event()

    def __enter__(self) -> StopNotice:
        if self._job.url:
            threading.Thread(target=self._poll_objects, name="stop notice", daemon=True).start()
        else:
            with suppress(OSError):
                self._job.stop_notice.parent.mkdir(parents=True, exist_ok=True)
                self._job.stop_notice.open("ab").close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        if not self._job.url:
            with suppress(OSError):
                self._job.stop_notice.unlink()

    def __call__(self) -> bool:
        """Return whether the segment is to stop after the present batch."""
        if not self._is_found and not self._job.url and time.monotonic() >= self._poll_at:
            with suppress(OSError):
                self._is_found = self._job.stop_notice.read_bytes() == self._segment
            self._poll_at = time.monotonic() + _POLL_SECONDS
        self.is_told = self._is_found
        return self.is_told

    def _poll_objects(self) -> None:
        name = self._job.stop_notice.relative_to(self._job.run_directory).as_posix()
        while not self._is_found and not self._closed.wait(_REMOTE_POLL_SECONDS):
            with suppress(OSError, SweepError):
                self._is_found = objects(self._job.url).get(name) == self._segment
