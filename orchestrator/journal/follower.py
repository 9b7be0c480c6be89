"""Reading a journal on while it is written: what is new since the last look, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.journal.records import Event, Line, parse
from orchestrator.journal.stores import Store


class Follower:
    """A place in a journal. Reads only, and needs no lease. A look costs what is new, however long the journal is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = self._lease = 0
        self._last: Line | None = None

    def events(self) -> Iterator[Event]:
        """The whole events that have come since; a torn last line is left for the next look.

        Where what had been read is no longer what the journal holds (the last write had failed and was taken back, or
        another file was put there) it begins anew with record 0, and what was made of the events before is void.

        Raises JournalError where the journal is damaged, OSError where it is gone or cannot be read; what was yielded
        until then counts as read.
        """
        later = self._store.later(self._seq, self._last) if self._last else None
        if later is None:
            self.rewind()
            later = self._store.lines()
        for event, line in parse(later, self._seq, self._lease):
            self._seq, self._lease, self._last = event.seq + 1, event.lease, line
            yield event

    def rewind(self) -> None:
        """The next look begins at the beginning."""
        self._seq, self._lease, self._last = 0, 0, None
