"""Keep standard input, output and error open in a process that outlives a trial's code."""

from __future__ import annotations

import contextlib
import fcntl
import os
from types import TracebackType

_FIRST_DESCRIPTOR = 320  # of the copies: see `durable_files.out_of_reach`


class StandardDescriptors:
    """While entered, holds copies of descriptors 0, 1 and 2, from which `repair` opens those that were closed.

    Without it the next file that the process opens would become its standard output, and receive what is printed.
    """

    def __init__(self) -> None:
        self._copies: dict[int, int] = {}

    def __enter__(self) -> StandardDescriptors:
        for number in range(3):
            with contextlib.suppress(OSError):  # closed from the start, or no number is free
                self._copies[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.repair()
        for copy in self._copies.values():
            with contextlib.suppress(OSError):
                os.close(copy)
        self._copies.clear()

    def repair(self) -> None:
        """Open those of the three again that are closed, on the null device if the copy was closed, too."""
        for number, copy in self._copies.items():
            if not _is_open(number):
                _open_as(number, copy)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_as(number: int, copy: int) -> None:
    try:
        os.dup2(copy, number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
