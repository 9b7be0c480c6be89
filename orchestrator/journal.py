"""The journal: one append-only, checksummed log, and the only code that touches it.

One JSON object a line, ``{"seq", "lease", "time", "type", …fields, "crc32"}``. ``crc32`` (zlib's, eight hex digits)
covers the bytes of the line before it; ``seq`` counts from 0 and is the only order; ``time`` (Unix seconds) is for
people and is never read to decide anything. A line without its newline at the end of the file is a torn write and
is cut off; any other damage is refused by offset.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time as clock
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import JournalError, RunHeldError

_TAIL = len(',"crc32":"00000000"}')


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    seq: int
    lease: int
    time: float
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def encode(event: Event) -> bytes:
    """The event's line, newline included. Non-finite numbers must be strings already: the line is strict JSON."""
    head = {"seq": event.seq, "lease": event.lease, "time": event.time, "type": event.type}
    body = json.dumps({**head, **event.fields}, separators=(",", ":"), allow_nan=False).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Event:
    """The event on one line (with or without its newline). Raises ValueError where the line is not what was written."""
    line = line.rstrip(b"\n")
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != b',"crc32":"%08x"}' % zlib.crc32(body):
        raise ValueError("its checksum does not match")
    fields = json.loads(body + b"}")
    return Event(fields.pop("seq"), fields.pop("lease"), fields.pop("time"), fields.pop("type"), fields)


def read(path: Path) -> Iterator[Event]:
    """Every whole event, in order; a torn last line is passed over. Raises JournalError on any other damage."""
    for event, _ in _scan(path):
        yield event


def _scan(path: Path) -> Iterator[tuple[Event, int]]:
    """Each event with the byte offset behind its line."""
    offset, lease = 0, 0
    with path.open("rb") as file:
        for seq, line in enumerate(file):
            if not line.endswith(b"\n"):
                return
            try:
                event = decode(line)
                if event.seq != seq or event.lease < lease:
                    raise ValueError(f"it has seq {event.seq} of lease {event.lease}, after {seq - 1} of lease {lease}")
            except (ValueError, KeyError) as error:
                raise JournalError(
                    f"{path} is damaged at byte {offset} (record {seq}): {error}",
                    hint="nothing was changed; put back a copy of the file that is whole",
                ) from None
            lease, offset = event.lease, offset + len(line)
            yield event, offset


class Journal:
    """The writer. One at a time: it holds a lock on the file beside the journal, and every append carries its lease.

    ``events`` is what the file held when it was opened.
    """

    def __init__(self, path: Path, lock: int, lease: int, events: list[Event], notice: str = "") -> None:
        self.path = path
        self.lease = lease
        self.notice = notice
        self.events = events
        self._lock = lock
        self._seq = len(events)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A new journal. Raises RunHeldError where one is there already or another process is making it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _acquire(path)
        if path.exists() and path.stat().st_size:
            os.close(lock)
            raise RunHeldError(
                f"the run {path.parent.name!r} exists already: {path.parent}",
                hint=f"go on with it: sweep resume {path.parent.name}; or start another: --name {path.parent.name}-2",
            )
        journal = cls(path, lock, 1, [])
        _sync_folder(path.parent)
        _sync_folder(path.parent.parent)
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Take over an existing journal: ``events`` holds what it says, ``notice`` whether a torn tail was cut off.

        Raises RunHeldError while another process holds it, JournalError where it is damaged.
        """
        lock = _acquire(path)
        try:
            scanned = list(_scan(path))
            events, end = [event for event, _ in scanned], scanned[-1][1] if scanned else 0
            torn = path.stat().st_size - end
            if torn:
                os.truncate(path, end)
        except BaseException:
            os.close(lock)
            raise
        notice = f"a torn write at the end of {path} was cut off ({torn} bytes at {end})" if torn else ""
        return cls(path, lock, (events[-1].lease if events else 0) + 1, events, notice)

    def append(self, type: str, *, sync: bool = True, **fields: Any) -> Event:
        """Write one event; with ``sync`` it is on the disk before this returns.

        Raises OSError where it cannot be written; the journal then ends where it did before.
        """
        event = Event(self._seq, self.lease, round(clock.time(), 3), type, fields)
        line = encode(event)
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(28, "no space left for the journal", str(self.path))
            if sync:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._seq += 1
        return event

    def close(self) -> None:
        """Make all durable and let the lease go."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            os.close(self._lock)
            self._file = -1


def holder(path: Path) -> str:
    """Who writes the journal now, as ``host, process N``; empty where nobody does."""
    lock = path.with_suffix(".lock")
    if not lock.exists():
        return ""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another process"
    return ""


def _acquire(path: Path) -> int:
    """The lock's file descriptor; the kernel lets it go when its holder dies."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(3):  # a reader that asks who holds it does so for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        clock.sleep(0.05)
    else:
        os.close(lock)
        raise RunHeldError(
            f"the run {path.parent.name!r} is held by {holder(path) or 'another process'}",
            hint=f"look at it: sweep status {path.parent.name}; end it: sweep stop {path.parent.name}",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{socket.gethostname()}, process {os.getpid()}".encode(), 0)
    return lock


def _sync_folder(path: Path) -> None:
    """Make a new name in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
