"""What every place for a journal's lines can do: a file, or objects in object storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice

from orchestrator.journal.records import Line


class EarlierWriteError(Exception):
    """An append that had raised an error is in the store after all: only the answer was lost.

    The store has counted it. ``line`` is its last line, the one that was thought lost.
    """

    def __init__(self, line: bytes) -> None:
        super().__init__("an earlier append is in the store")
        self.line = line


class Store(ABC):
    """Lines in order. One writer at a time; a reader sees a prefix at any time, perhaps with a torn last line.

    Attributes:
        waits: Whether a write may wait, for a disk or a network.
        require: Raises RunHeldError if another process has the right to write.
    """

    waits = True
    require: Callable[[], None] = staticmethod(lambda: None)

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

        After an error nothing of the line is in the store; lines that were not durable yet are written again by the
        next append. A store over a network may not know that: see below.

        Raises:
            OSError: The line cannot be written.
            EarlierWriteError: The line was not written, since an earlier one, whose append has raised, is in the store.
            RunHeldError: Another process has written instead.
        """

    def is_named(self) -> bool:
        """Return whether what was written is what others find under the journal's name. Raises OSError."""
        return True

    def rewrite(self) -> str:
        """Write every line again under the journal's name; for a store that is not `is_named` any more.

        Returns:
            The name of the file that now holds what was found there; empty if it held nothing else.

        Raises:
            OSError: It cannot be written.
            RunHeldError: Another process has the right to write.
        """
        return ""

    @abstractmethod
    def close(self) -> None:
        """Make all lines durable. Raises OSError."""

    @abstractmethod
    def discard(self) -> None:
        """Remove the store if nothing was written to it."""
