"""Keep the journal's lines in numbered objects in object storage."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence

from orchestrator.errors import ObjectStoreError, RunHeldError
from orchestrator.journal.records import Line
from orchestrator.journal.store import EarlierWriteError, Store
from orchestrator.object_storage import Objects


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
        self._unanswered: dict[bytes, tuple[int, bytes]] = {}  # writes of record `_seq`: records, last line

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
        if not sync and not self._unanswered:  # else this line's number may be taken
            self._pending, self._count = self._pending + line, self._count + 1
            return
        self._create(self._pending + line, self._count + 1, line)

    def close(self) -> None:
        """See `Store.close`."""
        if self._pending:
            self._create(self._pending, self._count, b"")

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

    def _create(self, content: bytes, count: int, line: bytes) -> None:
        """Create the next object. If an answer is lost, what is there decides, now or before the next write."""
        name = _record(self._seq)
        self._unanswered[content] = count, line
        stored = content if self._created(name, content) else self._objects.get(name)
        if stored not in self._unanswered:
            raise RunHeldError(
                f"another process has written record {self._seq} of {self.url}; nothing more is written here",
                hint="another process has taken over the run",
            )
        count, line = self._unanswered[stored]
        self._count_in(stored, count)
        if stored != content:
            raise EarlierWriteError(line)

    def _created(self, name: str, content: bytes) -> bool:
        """Create the object; return False if there is one of that name.

        Raises:
            OSError: There is none, or the store does not answer; a request that was sent may still arrive.
        """
        try:
            self._objects.create(name, content)
        except FileExistsError:
            return False
        except ObjectStoreError:
            if self._objects.size(name) is None:
                raise
            return False
        return True

    def _count_in(self, content: bytes, count: int) -> None:
        self._seq, self._count, self._pending, self._unanswered = self._seq + count, 0, b"", {}
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
