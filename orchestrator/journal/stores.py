"""Where the journal's lines are kept: a file on a local disk or NFS, or numbered objects behind fsspec."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.errors import RunHeldError, UsageError
from orchestrator.files import settle, sync, write_all, write_durably
from orchestrator.journal.records import Line


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
    """Immutable objects ``<url>/000000000042.jsonl``, each named by its first record and made only if it is new.

    Making an object that exists is refused by the store itself, so a writer that was taken over cannot add a record:
    the number it wants is gone. Lines that need not be durable wait for the next that must.
    """

    def __init__(self, url: str, **options: Any) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._system, self._root = fsspec.core.url_to_fs(self.url, **options)
        self._seq = self._count = 0
        self._pending = b""

    def lines(self) -> Iterator[Line]:
        return self._lines_of(self._names())

    def later(self, seq: int, last: Line) -> Iterator[Line] | None:
        """An object is whole and never changes, so what comes next is in objects that are new."""
        names = self._names()
        if not names:
            raise FileNotFoundError(errno.ENOENT, "the journal is gone", self.url)
        return self._lines_of(name for name in names if int(name.rsplit("/", 1)[-1].removesuffix(".jsonl")) >= seq)

    def _lines_of(self, names: Iterable[str]) -> Iterator[Line]:
        for name in names:
            end = 0
            for content in self._system.cat_file(name).splitlines(keepends=True):
                place = f"{self.url}/{name.rsplit('/', 1)[-1]} is damaged at byte {end}"
                end += len(content)
                yield Line(content, place, end)

    def empty(self) -> bool:
        return not self._names()

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        self._seq, self._count, self._pending = seq, 0, b""
        return 0

    def append(self, line: bytes, *, sync: bool) -> None:
        if not sync:
            self._pending, self._count = self._pending + line, self._count + 1
            return
        self._make(self._pending + line)
        self._seq, self._count, self._pending = self._seq + self._count + 1, 0, b""

    def close(self) -> None:
        if self._pending:
            self._make(self._pending)
            self._seq, self._count, self._pending = self._seq + self._count, 0, b""

    def discard(self) -> None:
        self._pending = b""

    def _make(self, content: bytes) -> None:
        name = f"{self._root}/{self._seq:012d}.jsonl"
        try:
            create_object(self._system, name, content)
        except FileExistsError:
            if self._system.cat_file(name) != content:  # else it is our own, of which only the answer was lost
                raise RunHeldError(
                    f"another process has written record {self._seq} of {self.url}; nothing more is written here",
                    hint="another process has taken over the run",
                ) from None

    def _names(self) -> list[str]:
        self._system.invalidate_cache(self._root)
        try:
            return sorted(name for name in self._system.ls(self._root, detail=False) if name.endswith(".jsonl"))
        except FileNotFoundError:
            return []


def create_object(system: Any, name: str, content: bytes) -> None:
    """Make an object whole, in one step, and only if there is none of that name. Raises FileExistsError.

    S3, Google Cloud Storage and Azure refuse a second one themselves; for a local folder a hard link does it. A file
    system whose ``pipe_file`` looks first and writes then would let two writers both believe that they were first:
    UsageError.
    """
    from fsspec.spec import AbstractFileSystem

    if "file" in _protocols(system):
        _link(Path(name), content)
    elif getattr(system.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file:
        raise UsageError(
            f"{type(system).__name__} cannot make an object only if it is new, so it cannot keep a journal",
            hint="keep it in a folder, or in S3, Google Cloud Storage or Azure",
        )
    else:
        system.pipe_file(name, content, mode="create")


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _link(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    write_durably(beside, content)
    try:
        os.link(beside, path)
    finally:
        beside.unlink()
    sync(path.parent)
