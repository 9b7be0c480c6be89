"""The writer: a store and a lease together."""

from __future__ import annotations

import contextlib
import time as clock
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal import object_lease
from orchestrator.journal.records import Event, Line, encode, parse
from orchestrator.journal.stores import Place, Store, store_at
from orchestrator.object_storage import objects

T = TypeVar("T")


class Right(Protocol):
    """The right to write, as a lease gives it."""

    epoch: int
    proven: bool

    def require(self) -> None: ...
    def release(self) -> None: ...
    def discard(self) -> None: ...


def read(place: Place) -> Iterator[Event]:
    """Every whole event, in order; a torn last line is passed over. Raises JournalError on any other damage."""
    for event, _ in parse(store_at(place).lines()):
        yield event


def holder(place: Place) -> leases.Holder | None:
    """The process that writes the journal now; None where there is none."""
    if isinstance(place, Path):
        return leases.is_held(place.parent / "lease")
    return object_lease.Claims(objects(place)).holder()


class Journal:
    """The writer. One at a time: every append carries its lease, and is refused once another process has taken it.

    ``notice`` says whether a torn tail was cut off; ``length`` counts records. ``patience`` is asked what to do about
    an error of the storage: True to try the same write again. ``now`` is the clock that people read, in Unix seconds.
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
        """A new journal. Raises RunHeldError where one is there already or another process is making it."""
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
                hint=f"go on with it: sweep resume {name}; or start another: --name {name}-2",
            )
        return cls(store, right, 0, 0)

    @classmethod
    def open(cls, place: Place) -> Journal:
        """Take over an existing journal.

        Raises RunHeldError while another process holds it, JournalError where it is damaged. Waits up to 20 s where
        only silence can tell that its holder is dead.
        """
        right = _claim(place)
        try:
            return cls.over(store_at(place), right)
        except BaseException:
            right.release()
            raise

    @classmethod
    def over(cls, store: Store, right: Right) -> Journal:
        """The writer over a store, for whoever holds the right to write. Raises JournalError where it is damaged."""
        length, last = 0, Line(b"", "", 0)
        for event, line in parse(store.lines()):
            length, last = event.seq + 1, line
        return cls(store, right, length, last.end)

    def events(self) -> Iterator[Event]:
        """What the journal holds."""
        for event, _ in parse(self._store.lines()):
            yield event

    def append(self, type: str, *, sync: bool = True, **fields: Any) -> Event:
        """Write one event, known to be still ours to write when this returns; with ``sync`` it is durable too.

        Raises OSError where it cannot be written, with the journal as it was before; RunHeldError where another process
        has taken over.
        """
        event = Event(self.length, self.lease, round(self.now(), 3), type, fields)
        line = encode(event)
        self.patiently(self._right.require)
        self.patiently(partial(self._store.append, line, sync=sync))
        self.length += 1
        self.patiently(self._right.require)  # whoever slept since the first look must not act on what it wrote
        return event

    def patiently(self, step: Callable[[], T]) -> T:
        """What the step returns, tried again for as long as ``patience`` says. Raises OSError where it has none."""
        while True:
            try:
                return step()
            except OSError as error:
                if not self.patience(error):
                    raise

    def discard(self) -> None:
        """Let the lease go and leave no trace of a journal that nothing was written to."""
        self._store.discard()
        self._right.discard()

    def close(self) -> None:
        """Make all durable and let the lease go."""
        try:
            self._store.close()
        finally:
            self._right.release()


def _claim(place: Place) -> Right:
    """Take the lease, with a number above all that the journal has seen: its folder may have been removed."""
    if not isinstance(place, Path):
        return object_lease.acquire(objects(place))
    folder = place.parent / "lease"
    known = leases.current(folder) is not None or not place.exists()
    return leases.acquire(folder, after=0 if known else _last_lease(place))


def _last_lease(path: Path) -> int:
    """The lease of the last whole record, 0 where there is none or the journal is damaged."""
    last = 0
    with contextlib.suppress(JournalError):
        for event in read(path):
            last = event.lease
    return last
