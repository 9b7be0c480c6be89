"""A trial's log file: masked, without terminal codes, and capped to its beginning and its end."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from pathlib import Path

from orchestrator.durable_files import is_shared_folder, make_folder, replace_file, write_all
from orchestrator.safe_text import visible
from orchestrator.secrets import masked

HEAD = 1_000_000
"""Bytes of a log that are kept from its beginning."""
TAIL = 1_000_000
"""Bytes that are kept from its end."""
_LINE = 65_536  # a longer line is broken, so that a stream without line ends is written, too
_STYLE = re.compile(r"\x1b\[[0-9;:]*m")
_PAUSE_SECONDS = 2.0  # between two writes of the end
_SHARE = 20  # of the time at most one part in so many is spent on writing the end


class CappedLog:
    """Writes what it is fed to a file that is made with its first line.

    The beginning is written at once. Once it is full, the end is kept in memory, and `flush` replaces the file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head, self._is_full = 0, False  # bytes of the beginning, and whether no more fit
        self._line = b""  # a line that has not ended yet
        self._raw: deque[bytes] = deque()  # beyond the beginning, not masked yet
        self._raw_size = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = self._dropped = self._dropped_lines = 0
        self._due = 0.0

    def feed(self, data: bytes) -> None:
        """Take bytes as they were printed."""
        if self._is_full:
            self._keep(data)
            return
        complete, end, rest = (self._line + data).rpartition(b"\n")
        if len(rest) > _LINE:
            complete, end, rest = complete + end + rest, b"\n", b""
        self._line = rest.rpartition(b"\r")[2] if b"\r" in rest[:-1] else rest  # a progress bar draws over itself
        if end:
            self._write(complete + end)

    def flush(self, *, last: bool = False) -> None:
        """Write the end, if there is one and it is time; with ``last``, all that there is."""
        if last and self._line:
            line, self._line = self._line, b""
            self._write(line + b"\n")
        started = time.monotonic()
        if not self._raw or not (last or started >= self._due):
            return
        self._mask_tail(last=last)
        with contextlib.suppress(OSError):  # a full disk: the next flush tries again
            replace_file(self.path, self._beginning() + self._marker() + b"".join(self._tail))
        taken = time.monotonic() - started
        self._due = started + max(_PAUSE_SECONDS, _SHARE * taken)

    def _write(self, lines: bytes) -> None:
        """Append lines to the beginning, and keep those for the end that do not fit."""
        cut = len(lines) if len(lines) <= HEAD - self._head else lines.find(b"\n", max(0, HEAD - self._head)) + 1
        fitting, rest = lines[: cut or len(lines)], lines[cut or len(lines) :]
        self._append(inert(fitting))
        if self._head >= HEAD or rest:
            self._is_full = True
            self._keep(rest + self._line)
            self._line = b""

    def _append(self, text: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk: the training does not end for its log
            make_folder(self.path.parent)
            descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                if not self._head:
                    os.ftruncate(descriptor, 0)
                    if is_shared_folder(self.path.parent):
                        os.fchmod(descriptor, 0o660)
                write_all(descriptor, text)
            finally:
                os.close(descriptor)
        self._head += len(text)

    def _keep(self, data: bytes) -> None:
        """Keep bytes for the end, and drop what came before it."""
        self._raw.append(data)
        self._raw_size += len(data)
        while self._raw and self._raw_size - len(self._raw[0]) >= TAIL:
            self._drop(self._raw.popleft())

    def _drop(self, raw: bytes) -> None:
        self._raw_size -= len(raw)
        self._dropped += len(raw)
        self._dropped_lines += raw.count(b"\n")
        while self._tail:  # what came before it is not the end either
            self._forget()

    def _mask_tail(self, *, last: bool) -> None:
        """Move what is kept into the masked end: whole lines only, until the last."""
        raw, self._raw, self._raw_size = b"".join(self._raw), deque(), 0
        if not last and len(rest := raw.rpartition(b"\n")[2]) <= _LINE:
            raw = raw[: len(raw) - len(rest)]
            self._raw.append(rest)
            self._raw_size = len(rest)
        if not self._tail and self._dropped:  # the first line may lack its beginning
            broken, end, raw = raw.partition(b"\n")
            self._dropped += len(broken + end)
            self._dropped_lines += 1
        if raw and not raw.endswith(b"\n"):
            raw += b"\n"
        for line in inert(raw).splitlines(keepends=True):
            self._tail.append(line)
            self._tail_size += len(line)
        while self._tail_size > TAIL and len(self._tail) > 1:
            self._forget()

    def _forget(self) -> None:
        line = self._tail.popleft()
        self._tail_size -= len(line)
        self._dropped += len(line)
        self._dropped_lines += 1

    def _beginning(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(self._head)

    def _marker(self) -> bytes:
        if not self._dropped:
            return b""
        return f"--- left out here: {self._dropped_lines:,} lines, {self._dropped / 1e6:,.1f} MB ---\n".encode()


def inert(data: bytes) -> bytes:
    r"""Return whole lines without secrets and terminal codes.

    Colours are left out, other control characters are written as escapes (``\x1b``), and of a line that was drawn over
    by ``\r`` the last state stays.
    """
    text = _STYLE.sub("", data.decode("utf-8", "backslashreplace").replace("\r\n", "\n"))
    lines = (_last_state(line) if "\r" in line else line for line in masked(text).split("\n"))
    shown = (line if line.isascii() and line.isprintable() else visible(line, keep="\t") for line in lines)
    return "\n".join(shown).encode("utf-8", "backslashreplace")


def _last_state(line: str) -> str:
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")
