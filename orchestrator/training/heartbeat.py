"""A sign of life: a file whose time of modification moves on for as long as batches are being done."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

EVERY = 5.0  # seconds


class Progress:
    """Gives a ``sign`` at most every ``every`` seconds; what it costs otherwise is one look at the clock.

    It says that batches come to their end, not that the device has finished with them: nothing waits for the device.
    """

    def __init__(self, sign: Callable[[], None], every: float = EVERY) -> None:
        self._sign = sign
        self._every = every
        self._due = monotonic()

    def made(self) -> None:
        """A batch is done."""
        now = monotonic()
        if now >= self._due:
            self._due = now + self._every
            self._sign()


def touch(path: Path) -> None:
    """Set a file's time of modification to now, by the file system's own clock; make it if need be.

    A disk that is full or does not answer is found by what has to be written; the sign of life is left out in silence.
    """
    with suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
