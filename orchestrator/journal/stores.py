"""Keep the journal's lines: in a file on a local disk or NFS, or in numbered objects in object storage."""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from orchestrator.durable_files import sync, sync_parents, write_all, write_durably
from orchestrator.errors import RunHeldError
from orchestrator.journal.records import Line
from orchestrator.object_storage import Objects, objects

Place = Path | str
"""Where a journal is: a file, or the URL of a folder in object storage."""


class Store(ABC):
    """Lines in order. One writer at a time; a reader sees a prefix at any time, perhaps with a torn last line."""

    @abstractmethod
    def lines(self) -> Iterator[Line]:
        """Yield every line, in order."""

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """Return the lines from record ``seq`` on; None if ``last``, the line before them, has changed.

        Raises:
            OSError: The journal is gone or cannot be read.
        """
        return islice(self.lines(), seq, None)

    @abstractmethod
    def empty(self) -> bool:
        """Return whether nothing has been written yet."""

    @abstractmethod
    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Prepare to append record ``seq`` after the complete lines, which end at offset ``end``.

        Unless it is ``proven`` that the previous writer is dead, what it still writes must not arrive.

        Returns:
            How many bytes of a torn line were cut off.
        """

    @abstractmethod
    def append(self, line: bytes, *, sync: bool) -> None:
        """Append a line; with ``sync``, it and all lines before it are durable when this returns.

        After an OSError nothing of the line is in the store; lines that were not durable yet are written again by the
        next append.
        """

    @abstractmethod
    def close(self) -> None:
        """Make all lines durable. Raises OSError."""

    @abstractmethod
    def discard(self) -> None:
        """Remove the store if nothing was written to it."""


class FileStore(Store):
    """One file, ``journal.jsonl``. A previous writer that may still be alive is left with an unlinked file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._durable = 0
        self._pending = b""
        self._failed = False

    def lines(self) -> Iterator[Line]:
        """See `Store.lines`."""
        with self.path.open("rb") as file:
            yield from self._lines_of(file, 0)

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """Compare ``last`` once more: a line whose write failed is cut off, and another may take its place."""
        with self.path.open("rb") as file:
            begin = last.end - len(last.content)
            file.seek(begin)
            if file.read(len(last.content)) != last.content:
                return None
            return iter(self._lines_of(file.readlines(), last.end))

    def _lines_of(self, contents: Iterable[bytes], end: int) -> Iterator[Line]:
        for content in contents:
            place = f"{self.path} is damaged at byte {end}"
            end += len(content)
            yield Line(content, place, end)

    def empty(self) -> bool:
        """Return True also for a torn first record, if no other file of a run lies next to it."""
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            torn = not file.readline().endswith(b"\n")
        names = {path.name for path in self.path.parent.iterdir() if not path.name.startswith(".")}
        return torn and names <= {self.path.name, "lease", "requests"}

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """See `Store.start`."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if not proven and size:
            with self.path.open("rb") as file:
                write_durably(self.path, file.read(end))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if proven and size != end:
            os.ftruncate(self._file, end)
        os.fsync(self._file)
        sync(self.path.parent)
        sync_parents(self.path.parent)
        self._durable = end
        return size - end

    def append(self, line: bytes, *, sync: bool) -> None:
        """See `Store.append`."""
        try:
            if self._failed:
                self._rewrite_pending()
            write_all(self._file, line)
            if sync:
                os.fdatasync(self._file)
        except OSError:
            self._failed = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._durable)
            raise
        self._pending += line
        if sync:
            self._durable, self._pending = self._durable + len(self._pending), b""

    def _rewrite_pending(self) -> None:
        """Cut off and rewrite all that was not durable when a write failed.

        After a failed fsync the kernel may mark pages as clean that never reached the disk ("fsyncgate", 2018).
        """
        os.ftruncate(self._file, self._durable)
        write_all(self._file, self._pending)
        self._failed = False

    def close(self) -> None:
        """See `Store.close`."""
        if self._file >= 0:
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file = -1

    def discard(self) -> None:
        """See `Store.discard`."""
        self.close()
        if self.empty():
            self.path.unlink(missing_ok=True)


class ObjectStore(Store):
    """Immutable objects ``records/000000000042.jsonl``, each named by its first record.

    An object is created only if its name is new, which the object store itself enforces: a writer that has lost the
    lease cannot append, because the number it needs is taken. Lines that need not be durable wait for the next synced
    line.

    About every `PACK` records the writer also puts their lines into one object, for example
    ``packs/000000000000-000000001024.jsonl`` (first record, and the one after the last), so that a long journal is read
    in few requests. The records stay.
    """

    PACK = 1024

    def __init__(self, objects: Objects) -> None:
        self.url = objects.url
        self._objects = objects
        self._seq = self._count = 0
        self._pending = b""
        self._packed, self._unpacked = 0, b""  # the number of records in packs, and the lines of those that are not

    def lines(self) -> Iterator[Line]:
        """See `Store.lines`."""
        self._packed, self._unpacked = 0, b""
        packs = self._packs()
        for name, content in zip(packs, self._objects.get_all(packs), strict=True):
            yield from self._lines_of(name, content)
            self._packed = _span(name)[1]
        for line in self._records(self._packed):
            self._unpacked += line.content
            yield line

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """List the new objects only: an object is complete and never changes."""
        names = self._objects.names("records", after=_record(seq - 1))
        if not names and self.empty():
            raise FileNotFoundError(errno.ENOENT, "the journal is gone", self.url)
        return self._read(names)

    def empty(self) -> bool:
        """See `Store.empty`."""
        return self._objects.size(_record(0)) is None

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Prepare to append. The lines that `lines` has read are the start of the next pack."""
        self._seq, self._count, self._pending = seq, 0, b""
        return 0

    def append(self, line: bytes, *, sync: bool) -> None:
        """See `Store.append`."""
        if not sync:
            self._pending, self._count = self._pending + line, self._count + 1
            return
        self._create(self._pending + line, self._count + 1)

    def close(self) -> None:
        """See `Store.close`."""
        if self._pending:
            self._create(self._pending, self._count)

    def discard(self) -> None:
        """See `Store.discard`."""
        self._pending = b""

    def _records(self, seq: int) -> Iterator[Line]:
        return self._read(self._objects.names("records", after=_record(seq - 1) if seq else ""))

    def _read(self, names: Sequence[str]) -> Iterator[Line]:
        for name, content in zip(names, self._objects.get_all(names), strict=True):
            yield from self._lines_of(name, content)

    def _lines_of(self, name: str, content: bytes) -> Iterator[Line]:
        end = 0
        for line in content.splitlines(keepends=True):
            place = f"{self.url}/{name} is damaged at byte {end}"
            end += len(line)
            yield Line(line, place, end)

    def _create(self, content: bytes, count: int) -> None:
        name = _record(self._seq)
        try:
            self._objects.create(name, content)
        except FileExistsError:
            if self._objects.get(name) != content:  # else this writer created it and only the response was lost
                raise RunHeldError(
                    f"another process has written record {self._seq} of {self.url}; nothing more is written here",
                    hint="another process has taken over the run",
                ) from None
        self._seq, self._count, self._pending = self._seq + count, 0, b""
        self._unpacked += content
        if self._seq - self._packed >= self.PACK:
            self._pack()

    def _pack(self) -> None:
        """Write a pack; if that fails, the next pack includes these records."""
        with contextlib.suppress(OSError):
            self._objects.put(f"packs/{self._packed:012d}-{self._seq:012d}.jsonl", self._unpacked)
            self._packed, self._unpacked = self._seq, b""

    def _packs(self) -> list[str]:
        """Return the consecutive packs from the first record on. Two writers may have packed the same records."""
        packs, end = [], 0
        longest = {_span(name)[0]: name for name in self._objects.names("packs")}
        while end in longest:
            packs.append(longest[end])
            end = _span(longest[end])[1]
        return packs


def _record(seq: int) -> str:
    return f"records/{seq:012d}.jsonl"


def _span(pack: str) -> tuple[int, int]:
    """Return a pack's first record, and the one after its last."""
    first, _, end = pack.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    return int(first), int(end)


def store_at(place: Place) -> Store:
    """Return the store of the journal at that place."""
    return FileStore(place) if isinstance(place, Path) else ObjectStore(objects(place))
