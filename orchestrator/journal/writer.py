"""Append to a journal: a store, and the lease that gives the right to write to it."""

from __future__ import annotations

import contextlib
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal import object_lease
from orchestrator.journal.reader import read
from orchestrator.journal.records import Event, Line, allow_names, encode, parse
from orchestrator.journal.stores import Place, Store, store_at
from orchestrator.object_storage import objects
from orchestrator.secrets import holds_secret, masked_values

T = TypeVar("T")
_SETTINGS = frozenset({"spec", "params"})  # a spec with a secret is refused when it is loaded, and replay needs these


class Right(Protocol):
    """The right to write that a lease gives: `lease.Lease` or `object_lease.ObjectLease`."""

    epoch: int
    proven: bool

    def require(self) -> None:
        """Raise RunHeldError if another process has taken over."""

    def release(self) -> None:
        """Release the lease, so that the next process need not wait."""

    def discard(self) -> None:
        """Release the lease, and remove what can be removed of it."""


def holder(place: Place) -> leases.Holder | None:
    """Return the process that writes the journal now; None if there is none."""
    if isinstance(place, Path):
        return leases.is_held(place.parent / "lease")
    return object_lease.Claims(objects(place)).holder()


class Journal:
    """The only writer of a journal: an append is refused once another process has taken the lease.

    Attributes:
        lease: The number of the lease, which every record carries.
        length: How many records there are.
        notice: A sentence if a torn write was cut off at the end, else empty.
        patience: Called with an error of the storage; True tries the same write again.
        now: The clock for the records' ``time``, in Unix seconds.
    """

    def __init__(self, store: Store, right: Right, length: int, end: int) -> None:
        self.patience: Callable[[OSError], bool] = lambda error: False
        self.now: Callable[[], float] = clock.time
        self.lease = right.epoch
        self.length = length
        self._store, self._right = store, right
        torn = store.start(length, end, proven=right.proven)
        self.notice = f"a torn write at the end of the journal was cut off ({torn} bytes at {end})" if torn else ""

    @classmethod
    def create(cls, place: Place) -> Journal:
        """Start a new journal. Raises RunHeldError if there is one, or if another process is creating it."""
        folder = place.parent if isinstance(place, Path) else place.rpartition("/")[0]
        name = str(folder).rpartition("/")[2]
        if isinstance(folder, Path):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        right = _claim(place)
        store = store_at(place)
        if not store.empty():
            right.release()
            raise RunHeldError(
                f"the run {name!r} exists already: {folder}",
                hint=f"resume it: sweep resume {name}; or start another: --name {name}-2",
            )
        return cls(store, right, 0, 0)

    @classmethod
    def open(cls, place: Place) -> Journal:
        """Open an existing journal for writing.

        Waits up to 20 s if only the lack of heartbeats can show that the previous holder is dead.

        Raises:
            RunHeldError: Another process holds it.
            JournalError: It is damaged.
            JournalVersionError: A newer version wrote it in a format that this one does not know.
        """
        right = _claim(place)
        try:
            return cls.for_store(store_at(place), right)
        except BaseException:
            right.release()
            raise

    @classmethod
    def for_store(cls, store: Store, right: Right) -> Journal:
        """Return the writer of a store, given the right to write to it. Raises JournalError if it is damaged."""
        length, last = 0, Line(b"", "", 0)
        for event, line in parse(store.lines()):
            length, last = event.seq + 1, line
        return cls(store, right, length, last.end)

    def events(self) -> Iterator[Event]:
        """Yield the journal's events from the first on."""
        for event, _ in parse(self._store.lines()):
            yield event

    def append(self, type: str, *, sync: bool = True, **fields: Any) -> Event:
        """Append one event, its secrets masked; with ``sync`` it is durable. On return the lease was still held.

        Raises:
            OSError: It cannot be written; the journal is as before.
            RunHeldError: Another process has taken over.
        """
        event = Event(self.length, self.lease, round(self.now(), 3), type, fields)
        allow_names(type, fields)
        line = encode(event)
        if holds_secret(line.decode()):
            event = replace(event, fields=masked_values(fields, keep=_SETTINGS))
            line = encode(event)
        self.with_patience(self._right.require)
        self.with_patience(partial(self._store.append, line, sync=sync))
        self.length += 1
        self.with_patience(self._right.require)  # a process suspended since the first check must not act on the record
        return event

    def with_patience(self, step: Callable[[], T]) -> T:
        """Return what ``step`` returns; repeat it after an OSError if ``patience`` says so, else raise the error."""
        while True:
            try:
                return step()
            except OSError as error:
                if not self.patience(error):
                    raise

    def discard(self) -> None:
        """Release the lease, and remove a journal to which nothing was written."""
        self._store.discard()
        self._right.discard()

    def close(self) -> None:
        """Make all records durable and release the lease."""
        try:
            self._store.close()
        finally:
            self._right.release()


def _claim(place: Place) -> Right:
    """Take the lease. If its folder was removed, its number is still above that of every record in the journal."""
    if not isinstance(place, Path):
        return object_lease.acquire(objects(place))
    folder = place.parent / "lease"
    has_number = leases.current(folder) is not None or not place.exists()
    return leases.acquire(folder, after=0 if has_number else _last_lease(place))


def _last_lease(path: Path) -> int:
    """Return the lease of the last complete record; 0 if there is none or the journal is damaged before it."""
    last = 0
    with contextlib.suppress(JournalError):
        for event in read(path):
            last = event.lease
    return last
