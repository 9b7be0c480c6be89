"""Where the journal's lines are kept: a file on a local disk or NFS, or numbered objects in object storage."""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from orchestrator.durable_files import settle, sync, write_all, write_durably
from orchestrator.errors import RunHeldError
from orchestrator.journal.records import Line
from orchestrator.object_storage import Objects, objects

Place = Path | str
"""Where a journal is: a file, or the URL of a folder in object storage."""


class Store(ABC):
    """Keeps lines in order. One writer at a time; readers at any time see a prefix, perhaps with a torn last line."""

    @abstractmethod
    def lines(self) -> Iterator[Line]:
        """Every line, in order."""

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """The lines from record ``seq`` on, where ``last`` was the one before; None where that is no longer there.

        Raises OSError where the journal is gone or cannot be read.
        """
        return islice(self.lines(), seq, None)

    @abstractmethod
    def empty(self) -> bool:
        """Whether nothing was written yet."""

    @abstractmethod
    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Get ready to append record ``seq``, the whole lines ending at ``end``; returns bytes of a torn tail cut off.

        Where it is not ``proven`` that the writer before is dead, whatever it still writes must not arrive.
        """

    @abstractmethod
    def append(self, line: bytes, *, sync: bool) -> None:
        """Add a line; with ``sync``, it and all before it are durable when this returns. Raises OSError.

        After an error nothing of the line is there, and what was not durable yet is written again with the next.
        """

    @abstractmethod
    def close(self) -> None:
        """Make all durable. Raises OSError."""

    @abstractmethod
    def discard(self) -> None:
        """Leave no trace, where nothing was written."""


class FileStore(Store):
    """One file, ``journal.jsonl``. A writer that may still be alive is left with a file that has no name any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._durable = 0
        self._pending = b""
        self._failed = False

    def lines(self) -> Iterator[Line]:
        with self.path.open("rb") as file:
            yield from self._placed(file, 0)

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """A line is compared once more: one whose write failed in the end is cut off, and another takes its place."""
        with self.path.open("rb") as file:
            begin = last.end - len(last.content)
            file.seek(begin)
            if file.read(len(last.content)) != last.content:
                return None
            return iter(self._placed(file.readlines(), last.end))

    def _placed(self, contents: Iterable[bytes], end: int) -> Iterator[Line]:
        for content in contents:
            place = f"{self.path} is damaged at byte {end}"
            end += len(content)
            yield Line(content, place, end)

    def empty(self) -> bool:
        """A first record that a crash has torn is nothing, but only where nothing else of a run lies beside it."""
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            torn = not file.readline().endswith(b"\n")
        beside = {path.name for path in self.path.parent.iterdir() if not path.name.startswith(".")}
        return torn and beside <= {self.path.name, "lease", "requests"}

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        size = self.path.stat().st_size if self.path.exists() else 0
        if not proven and size:
            with self.path.open("rb") as file:
                write_durably(self.path, file.read(end))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if proven and size != end:
            os.ftruncate(self._file, end)
        os.fsync(self._file)
        sync(self.path.parent)
        settle(self.path.parent)
        self._durable = end
        return size - end

    def append(self, line: bytes, *, sync: bool) -> None:
        try:
            if self._failed:
                self._write_again()
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

    def _write_again(self) -> None:
        """Cut off and write anew all that was not durable when a write failed.

        After a failed fsync the kernel may hold pages for clean that never reached the disk ("fsyncgate", 2018).
        """
        os.ftruncate(self._file, self._durable)
        write_all(self._file, self._pending)
        self._failed = False

    def close(self) -> None:
        if self._file >= 0:
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file = -1

    def discard(self) -> None:
        self.close()
        if self.empty():
            self.path.unlink(missing_ok=True)


class ObjectStore(Store):
    """Immutable objects ``records/000000000042.jsonl``, each named by its first record and made only if it is new.

    Making an object that exists is refused by the store itself, so a writer that was taken over cannot add a record:
    the number it wants is gone. Lines that need not be durable wait for the next that must.

    Every `PACK` records or so their writer puts the same lines into ``packs/000000000000-000000001024.jsonl`` (named by
    the first record, and the one after the last), so that a long journal is read in few requests. The records stay.
    """

    PACK = 1024

    def __init__(self, objects: Objects) -> None:
        self.url = objects.url
        self._objects = objects
        self._seq = self._count = 0
        self._pending = b""
        self._packed, self._loose = 0, b""  # how many records lie in packs, and the lines that do not yet

    def lines(self) -> Iterator[Line]:
        self._packed, self._loose = 0, b""
        packs = self._packs()
        for name, content in zip(packs, self._objects.get_all(packs), strict=True):
            yield from self._placed(name, content)
            self._packed = _span(name)[1]
        for line in self._records(self._packed):
            self._loose += line.content
            yield line

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """An object is whole and never changes, so what comes next is in objects that are new."""
        names = self._objects.names("records", after=_record(seq - 1))
        if not names and self.empty():
            raise FileNotFoundError(errno.ENOENT, "the journal is gone", self.url)
        return self._read(names)

    def empty(self) -> bool:
        return self._objects.size(_record(0)) is None

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """What was read of the journal before is what the next pack begins with."""
        self._seq, self._count, self._pending = seq, 0, b""
        return 0

    def append(self, line: bytes, *, sync: bool) -> None:
        if not sync:
            self._pending, self._count = self._pending + line, self._count + 1
            return
        self._make(self._pending + line, self._count + 1)

    def close(self) -> None:
        if self._pending:
            self._make(self._pending, self._count)

    def discard(self) -> None:
        self._pending = b""

    def _records(self, seq: int) -> Iterator[Line]:
        return self._read(self._objects.names("records", after=_record(seq - 1) if seq else ""))

    def _read(self, names: Sequence[str]) -> Iterator[Line]:
        for name, content in zip(names, self._objects.get_all(names), strict=True):
            yield from self._placed(name, content)

    def _placed(self, name: str, content: bytes) -> Iterator[Line]:
        end = 0
        for line in content.splitlines(keepends=True):
            place = f"{self.url}/{name} is damaged at byte {end}"
            end += len(line)
            yield Line(line, place, end)

    def _make(self, content: bytes, count: int) -> None:
        name = _record(self._seq)
        try:
            self._objects.create(name, content)
        except FileExistsError:
            if self._objects.get(name) != content:  # else it is our own, of which only the answer was lost
                raise RunHeldError(
                    f"another process has written record {self._seq} of {self.url}; nothing more is written here",
                    hint="another process has taken over the run",
                ) from None
        self._seq, self._count, self._pending = self._seq + count, 0, b""
        self._loose += content
        if self._seq - self._packed >= self.PACK:
            self._pack()

    def _pack(self) -> None:
        """What cannot be packed now is packed with what comes."""
        with contextlib.suppress(OSError):
            self._objects.put(f"packs/{self._packed:012d}-{self._seq:012d}.jsonl", self._loose)
            self._packed, self._loose = self._seq, b""

    def _packs(self) -> list[str]:
        """Those that follow one another from the first record on. Two writers may have packed the same records."""
        found, end = [], 0
        longest = {_span(name)[0]: name for name in self._objects.names("packs")}
        while end in longest:
            found.append(longest[end])
            end = _span(longest[end])[1]
        return found


def _record(seq: int) -> str:
    return f"records/{seq:012d}.jsonl"


def _span(pack: str) -> tuple[int, int]:
    """Its first record, and the one after its last."""
    first, _, end = pack.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    return int(first), int(end)


def store_at(place: Place) -> Store:
    """Where the lines of the journal at that place are kept."""
    return FileStore(place) if isinstance(place, Path) else ObjectStore(objects(place))
