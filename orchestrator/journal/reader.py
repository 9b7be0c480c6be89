"""Read a journal: all of it, or only what is new while it is being written. Reading needs no lease."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.journal.records import Event, Line, parse
from orchestrator.journal.store import Store
from orchestrator.journal.stores import Place, store_at


def read(place: Place) -> Iterator[Event]:
    """Yield every complete event, in order; a torn last line is left out.

    Raises:
        JournalError: The journal is damaged elsewhere.
        JournalVersionError: A newer version wrote it in a format that this one does not know.
    """
    for event, _ in parse(store_at(place).lines()):
        yield event


class Follower:
    """A position in a journal that is being written. A read costs what is new, however long the journal is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = self._lease = 0
        self._last: Line | None = None

    def events(self) -> Iterator[Event]:
        """Yield the complete events that are new since the last call; a torn last line waits for a later call.

        If the last line read is no longer in the journal (its write failed and was undone, or the file was replaced),
        the events start at record 0 again: discard what was computed from the earlier ones.

        Raises:
            JournalError: The journal is damaged. Events yielded before that count as read.
            OSError: The journal is gone or cannot be read.
        """
        later = self._store.later(self._seq, self._last) if self._last else None
        if later is None:
            self.rewind()
            later = self._store.lines()
        for event, line in parse(later, self._seq, self._lease):
            self._seq, self._lease, self._last = event.seq + 1, event.lease, line
            yield event

    def rewind(self) -> None:
        """Let the next call of `events` start at the first record."""
        self._seq, self._lease, self._last = 0, 0, None
