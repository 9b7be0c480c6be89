"""How a running sweep is asked to stop: Ctrl-C, SIGTERM, or a request left in the run directory."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from orchestrator.rundir import RunDirectory

# What runs may come to the end of its epoch for this long; then it is cut off and loses the epoch it was in.
GRACE_SECONDS = 8.0
_POLL_SECONDS = 0.5


class Stopping:
    """While entered, turns the first SIGINT or SIGTERM into ``asked`` and a second one into KeyboardInterrupt."""

    def __init__(self, run: RunDirectory) -> None:
        self.signal = 0
        self._run = run
        self._request = run.stop_request
        self._asked_at: float | None = None
        self._polled = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        with contextlib.suppress(FileNotFoundError):
            self._request.unlink()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        with contextlib.suppress(FileNotFoundError):
            self._request.unlink()

    @property
    def asked(self) -> str:
        """Why the sweep is to stop; empty while nobody has asked."""
        if self._asked_at is None and time.monotonic() - self._polled > _POLL_SECONDS:
            self._polled = time.monotonic()
            if self._request.exists():
                self._asked_at = time.monotonic()
        if self._asked_at is None:
            return ""
        return signal.Signals(self.signal).name if self.signal else "sweep stop"

    @property
    def overdue(self) -> bool:
        """Whether the time for a clean end is over."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > GRACE_SECONDS

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, else 0."""
        return 128 + self.signal if self.signal else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is not None:
            raise KeyboardInterrupt
        self.signal, self._asked_at = number, time.monotonic()
