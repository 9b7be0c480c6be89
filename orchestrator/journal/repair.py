"""Repair a journal that version 0.1.0 damaged: two records of one number, where its writer was interrupted.

The writer of 0.1.0 had written a record when a second Ctrl-C came before it had counted it, and gave the number to the
next record, too. Both are whole. Nobody had been told of the first one; what it says has happened all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import JournalError
from orchestrator.journal.file_store import FileStore
from orchestrator.journal.records import Event, Line, decode, parse

_PAUSE = "sweep.paused"


@dataclass(frozen=True)
class Repair:
    """What a repair makes of a journal: its ``content``, and the record that it drops."""

    content: bytes
    dropped: Event


def repaired(path: Path) -> Repair | None:
    """Return the one safe repair of a journal; None if it is sound. The file is only read.

    Of the two records of one number the second is dropped if it is the last and only says that the sweep was paused:
    the sweep is resumed without it. Else the first is dropped, of which nobody was told.

    Raises:
        JournalError: It is damaged in another way, or in another place as well.
    """
    lines = [line for line in FileStore(path).lines() if not line.torn]
    place = _doubled(lines)
    if place is None:
        for _ in parse(lines):
            pass
        return None
    second = decode(lines[place].content)
    drop = place if second.type == _PAUSE and place == len(lines) - 1 else place - 1
    rest = [*lines[:drop], *lines[drop + 1 :]]
    for _ in parse(rest):  # raises if there is other damage
        pass
    return Repair(b"".join(line.content for line in rest), decode(lines[drop].content))


def _doubled(lines: Sequence[Line]) -> int | None:
    """Return which line is the second of two whole records of one number and one writer."""
    before: tuple[int, int] | None = None
    for place, line in enumerate(lines):
        try:
            event = decode(line.content)
        except (ValueError, KeyError):
            raise JournalError(
                f"{line.place} (record {place}): it cannot be read, and no repair is known for that",
                hint="nothing was changed; restore an undamaged copy",
            ) from None
        if (event.seq, event.lease) == before:
            return place
        before = event.seq, event.lease
    return None
