"""Append to a journal: a store, and the lease that gives the right to write to it.

One thread owns both, and the number of the next record. A caller hands it a record and waits for the answer, so an
exception that is raised in the caller (by a signal, or for want of memory) cannot come between a line and its count.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal import object_lease
from orchestrator.journal.reader import read
from orchestrator.journal.records import Event, Line, allow_names, decode, encode, parse
from orchestrator.journal.single_thread import SingleThread
from orchestrator.journal.steady_time import JumpDetector
from orchestrator.journal.store import EarlierWriteError, Store
from orchestrator.journal.stores import FileStore, Place, store_at
from orchestrator.object_storage import objects
from orchestrator.secrets import holds_secret, masked, masked_values

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
        patience: Called with an error of the storage; True tries the same write again. Runs in the writing thread.
        accept: Called in the writing thread with each record once it is in the journal, whether or not the caller of
            `append` still waits for it. What follows from the records belongs here: it must not wait.
        alert: Called with a sentence for the user.
    """

    def __init__(self, store: Store, right: Right, length: int, end: int) -> None:
        self.patience: Callable[[OSError], bool] = lambda error: False
        self.accept: Callable[[Event], None] = lambda event: None
        self.alert: Callable[[str], None] = lambda text: print(masked(text), file=sys.stderr)
        self._clock = JumpDetector()
        self.lease = right.epoch
        self.length = length
        self._store, self._right, self._closed = store, right, False
        store.require = right.require
        torn = store.start(length, end, proven=right.proven)
        self.notice = f"a torn write at the end of the journal was cut off ({torn} bytes at {end})" if torn else ""
        self._thread = SingleThread("journal") if store.waits else None

    @property
    def now(self) -> Callable[[], float]:
        """The clock for the records' ``time``, in Unix seconds. One that is set here counts as free of jumps."""
        return self._clock.wall

    @now.setter
    def now(self, clock: Callable[[], float]) -> None:
        self._clock.use(clock, clock)

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
        try:
            store = store_at(place)
            if not store.empty():
                raise RunHeldError(
                    f"the run {name!r} exists already: {folder}",
                    hint=f"resume it: sweep resume {name}; or start another: --name {name}-2",
                )
            return cls(store, right, 0, 0)
        except BaseException:
            right.release()
            raise

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

        A caller that is interrupted meanwhile does not learn the outcome; `accept` does.

        Raises:
            OSError: It cannot be written; the journal is as before, or will be found to hold it by the next append.
            RunHeldError: Another process has taken over.
        """
        return self._call(partial(self._append, type, fields, sync=sync))

    def _call(self, step: Callable[[], T]) -> T:
        return self._thread.call(step) if self._thread else step()

    def _append(self, type: str, fields: Mapping[str, Any], *, sync: bool) -> Event:
        if self._closed:
            raise ValueError("the journal is closed")
        time, passed = self._clock.stamp()
        event = Event(self.length, self.lease, time, type, fields, passed)
        allow_names(type, fields)
        line = encode(event)
        if holds_secret(line.decode()):
            event = replace(event, fields=masked_values(fields, keep=_SETTINGS))
            line = encode(event)
        self.with_patience(self._right.require)
        event = self._put(event, line, sync=sync)
        self._count_in(event)
        if sync:
            self.with_patience(self._keep_name)
        self.with_patience(self._right.require)  # a process suspended since the first check must not act on the record
        return event

    def _put(self, event: Event, line: bytes, *, sync: bool) -> Event:
        """Write the event's line to the store and return the event, with the number that it got."""
        while True:
            try:
                self.with_patience(partial(self._write, line, sync=sync))
            except EarlierWriteError as earlier:
                self._count_earlier(earlier)
                time, passed = self._clock.stamp()
                event = replace(event, seq=self.length, time=time, passed=passed)
                line = encode(event)
            else:
                return event

    def _write(self, line: bytes, *, sync: bool) -> None:
        """Append the line. If that fails, the first question is whether another process has taken over."""
        try:
            self._store.append(line, sync=sync)
        except OSError:
            self._right.require()
            raise

    def _count_in(self, event: Event) -> None:
        self.length = event.seq + 1
        self._clock.note(event)
        self.accept(event)

    def _count_earlier(self, earlier: EarlierWriteError) -> None:
        if earlier.line:
            self._count_in(decode(earlier.line))

    def _keep_name(self) -> None:
        """Write the journal again if its name no longer leads to it. Raises OSError, or RunHeldError."""
        if self._store.is_named():
            return
        self._right.require()
        aside = self._store.rewrite()
        self.alert(
            "the journal was replaced or changed by another program while the sweep ran; it was written again with "
            f"all {self.length} records" + (f", and what was there is now {aside}" if aside else "")
        )

    def wait(self) -> None:
        """Wait until the records whose callers were interrupted are written, or cannot be."""
        self._call(lambda: None)

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
        self._call(self._discard)

    def _discard(self) -> None:
        self._closed = True
        self._store.discard()
        self._right.discard()

    def close(self) -> None:
        """Make all records durable and release the lease."""
        self._call(self._close)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(RunHeldError):  # then another process has the journal, and its name
                self._right.require()
                self._keep_name()
            self._close_store()
        finally:
            self._right.release()

    def _close_store(self) -> None:
        try:
            self._store.close()
        except EarlierWriteError as earlier:
            self._count_earlier(earlier)
            self._close_store()


def _claim(place: Place) -> Right:
    """Take the lease. If claims were removed or lost, its number is still above that of every record in the journal."""
    if isinstance(place, Path):
        return leases.acquire(place.parent / "lease", after=FileStore(place).last_lease())
    kept = objects(place)
    return object_lease.acquire(kept, after=0 if object_lease.Claims(kept).current() else _last_lease(place))


def _last_lease(place: str) -> int:
    """Return the lease of the last complete record; 0 if there is none or the journal is damaged before it."""
    last = 0
    with contextlib.suppress(JournalError):
        for event in read(place):
            last = event.lease
    return last
