"""Keep the journal's lines in a file on a local disk or NFS."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from orchestrator.durable_files import (
    fresh_status,
    out_of_reach,
    sync,
    sync_parents,
    temporary_name,
    write_all,
    write_durably,
)
from orchestrator.errors import CheckpointError, JournalError, RunHeldError
from orchestrator.journal.records import Line, decode
from orchestrator.journal.store import Store

_FIRST_DESCRIPTOR = 256
_BROKEN_FILE_SYSTEM = frozenset({errno.EROFS, errno.EIO})
_TAIL = 1 << 14  # bytes in which the last record is looked for first
# An open fails with one of these if the name is free, or another file's: a folder, a loop of links, a socket.
_ANOTHER_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ELOOP, errno.ENXIO})


def _last_line(file: BinaryIO) -> bytes:
    """Return a file's last complete line; empty if there is none."""
    begin = size = file.seek(0, os.SEEK_END)
    lines: list[bytes] = []
    while begin and len(lines) < 3:  # the end of a line before it, the line, and what follows
        begin = max(0, 2 * begin - size - _TAIL)
        file.seek(begin)
        lines = file.read(size - begin).split(b"\n")
    return lines[-2] if len(lines) > 1 else b""


class _Copy:
    """The lines that a file must hold, in memory: compressed, so some tenth of the file."""

    CHUNK = 1 << 20

    def __init__(self, content: bytes) -> None:
        self._packed: list[bytes] = []
        self._recent = [content]
        self._size = len(content)
        self._pack()

    def add(self, lines: bytes) -> None:
        """Add lines: all or, if memory is short, none."""
        self._recent.append(lines)
        self._size += len(lines)
        with contextlib.suppress(MemoryError):
            self._pack()

    def content(self) -> bytes:
        """Return all lines."""
        return b"".join([*map(zlib.decompress, self._packed), *self._recent])

    def _pack(self) -> None:
        if self._size < self.CHUNK:
            return
        recent: list[bytes] = []
        self._packed.append(zlib.compress(b"".join(self._recent), 1))
        self._recent, self._size = recent, 0


class FileStore(Store):
    """One file, ``journal.jsonl``. A previous writer that may still be alive is left with an unlinked file.

    The writer compares name and open file after each sync, since an editor, rsync or a restored backup may put another
    file under the name, and writes to the old one would be lost. It has a copy in memory to write the journal again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._durable = 0
        self._pending = b""
        self._failed = False
        self._copy = _Copy(b"")
        self._links = 1  # of a file with one name; some file systems do not count them
        self._has_identity = True  # whether a file's inode number stays; on some network file systems it does not
        self._name_durable = True

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

    def last_lease(self) -> int:
        """Return the lease of the last complete record, which alone is read; 0 if there is none, or it is damaged."""
        try:
            with self.path.open("rb") as file:
                last = _last_line(file)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        with contextlib.suppress(ValueError, KeyError):
            return decode(last).lease
        return 0

    def _lines_of(self, contents: Iterable[bytes], end: int) -> Iterator[Line]:
        for content in contents:
            place = f"{self.path} is damaged at byte {end}"
            end += len(content)
            yield Line(content, place, end)

    def empty(self) -> bool:
        """Return True also for a torn first record, if no other file of a run lies next to it."""
        try:
            with self.path.open("rb") as file:  # not only looked up: on NFS only an open asks the server
                first = file.readline()
        except (FileNotFoundError, NotADirectoryError):
            return True
        if not first:
            return True
        torn = not first.endswith(b"\n")
        names = {path.name for path in self.path.parent.iterdir() if not path.name.startswith(".")}
        return torn and names <= {self.path.name, "lease", "requests"}

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Open the file, or replace it: a late write of another process must go to a file without a name.

        Nothing is ever cut off in place: if another process has taken over meanwhile, it would be that one's.
        """
        size, links, content = 0, 0, b""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            content = file.read(end)
            status = os.fstat(file.fileno())
            size, links = status.st_size, status.st_nlink
        self._copy, self._durable = _Copy(content), end
        if proven and 0 < end == size and links == 1:
            self._open()
            os.fsync(self._file)
            sync(self.path.parent)
            sync_parents(self.path.parent)
        else:
            self._replace(content)
        self._links, self._has_identity = os.fstat(self._file).st_nlink, self._is_same_file()
        return size - end

    def append(self, line: bytes, *, sync: bool) -> None:
        """See `Store.append`. Whatever is raised here, the line and its count stay together."""
        try:
            self._append(line, sync=sync)
        except OSError as error:
            if not self._is_lost(error):
                raise
            self.rewrite()
            self._failed = False
            self._append(line, sync=sync)

    def _append(self, line: bytes, *, sync: bool) -> None:
        pending = self._pending + line
        durable = self._durable + len(pending)
        try:
            if self._failed:
                self._rewrite_pending()
            write_all(self._file, line)
            if sync:
                os.fdatasync(self._file)
                self._copy.add(pending)
        except BaseException:
            self._failed = True
            with contextlib.suppress(OSError):
                self._cut()
            raise
        if sync:
            self._durable, self._pending = durable, b""
        else:
            self._pending = pending

    def is_named(self) -> bool:
        """Return whether the journal's name leads to the open file, which has no other name and no other content.

        If its descriptor was closed, the file is first written again.
        """
        try:
            own = os.fstat(self._file)
        except OSError as error:
            if error.errno == errno.ESTALE:
                return False
            if error.errno != errno.EBADF:
                raise
            self._file = -1
            self.rewrite()
            own = os.fstat(self._file)
        if own.st_size != self._durable + len(self._pending) or not self._name_durable:
            return False
        try:
            named = fresh_status(self.path)
        except OSError as error:
            if error.errno in _ANOTHER_FILE:
                return False
            raise
        same = not self._has_identity or os.path.samestat(own, named)
        return same and named.st_size == own.st_size and own.st_nlink == self._links

    def rewrite(self) -> str:
        """See `Store.rewrite`."""
        content = self._copy.content() + self._pending
        aside = self._keep_foreign(content)
        try:
            self._replace(content)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise JournalError(
                f"{self.path} was replaced by a folder while this process wrote it; nothing more is written here",
                hint="move the folder away and resume the run from a copy of its journal",
            ) from error
        return aside

    def _replace(self, content: bytes) -> None:
        """Put a new file with that content under the journal's name, and write to it from now on."""
        self._remove_leftovers()
        self._name_durable = False
        try:
            write_durably(self.path, content, before_rename=self.require)
        except (CheckpointError, FileNotFoundError):
            self.require()  # another process has taken over: it has removed the file, or put its own there
            raise
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        descriptor = out_of_reach(descriptor, _FIRST_DESCRIPTOR)
        old, self._file, self._name_durable = self._file, descriptor, True
        if old >= 0:
            with contextlib.suppress(OSError):
                os.close(old)

    def _is_same_file(self) -> bool:
        return os.path.samestat(os.fstat(self._file), fresh_status(self.path))

    def _is_lost(self, error: OSError) -> bool:
        """Return whether the open file will never be written again, so that the journal needs another.

        A trial's code has closed its descriptor; or its file system broke, and another was mounted in its place.
        """
        if error.errno == errno.EBADF:
            self._file = -1  # the number may be another file's by now
            return True
        if error.errno not in _BROKEN_FILE_SYSTEM:
            return False
        with contextlib.suppress(OSError):
            return os.fstat(self._file).st_dev != fresh_status(self.path).st_dev
        return False

    def _keep_foreign(self, content: bytes) -> str:
        """Give what is under the journal's name another one if it is not a part of ``content``; return that name."""
        aside = self.path.with_name("journal.foreign.jsonl")
        with contextlib.suppress(OSError):
            if self.path.is_file() and not content.startswith(self.path.read_bytes()):
                aside.unlink(missing_ok=True)
                os.link(self.path, aside)
                return aside.name
        return ""

    def _cut(self) -> None:
        """Cut off what is not durable. The file may be shorter already: another program may have truncated it."""
        if os.fstat(self._file).st_size > self._durable:
            os.ftruncate(self._file, self._durable)

    def _rewrite_pending(self) -> None:
        """Cut off and rewrite all that was not durable when a write failed.

        After a failed fsync the kernel may mark pages as clean that never reached the disk ("fsyncgate", 2018).
        A file that another client of its server has removed cannot be written any more: its name gets another one.
        """
        try:
            self._cut()
            write_all(self._file, self._pending)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self.rewrite()
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
        """Remove the file if nothing was written to it; not one that another process has put there."""
        own = False
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            own = self._file >= 0 and not os.fstat(self._file).st_size and self._is_same_file()
        self.close()
        if own:
            with contextlib.suppress(OSError, RunHeldError):
                self._remove()

    def _remove(self) -> None:
        """Remove the file unless another process takes over meanwhile, also if this one is suspended anywhere here.

        The file is moved into a folder of this process and removed there. A process that takes over removes the folder
        before it puts its own file in the journal's place, and so the move fails.
        """
        folder = temporary_name(self.path)
        folder.mkdir()
        try:
            self.require()
            self.path.rename(folder / self.path.name)
        finally:
            self._remove_leftover(folder)

    def _remove_leftovers(self) -> None:
        """Remove what others have begun to put in the journal's place, or to move away: a late rename must fail."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            self._remove_leftover(leftover)

    def _remove_leftover(self, leftover: Path) -> None:
        while True:
            try:
                leftover.unlink(missing_ok=True)
                return
            except OSError:
                if not leftover.is_dir():
                    raise
            (leftover / self.path.name).unlink(missing_ok=True)
            try:
                leftover.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # else a journal was moved there meanwhile
                    raise
