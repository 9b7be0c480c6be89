"""The form of the journal: one JSON object a line, ``{"seq", "lease", "time", "type", …fields, "crc32"}``.

``crc32`` (zlib's, eight hex digits) covers the bytes of the line before it; ``seq`` counts from 0 and is the only
order; ``lease`` is the writer's and never falls; ``time`` (Unix seconds) is for people, and for budgets of time and of
money.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.errors import JournalError

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # made once: that is half of its work
_DECODER = json.JSONDecoder()
_TAIL = len(',"crc32":"00000000"}')


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    seq: int
    lease: int
    time: float
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Strict JSON has no NaN and no infinity: they are written as words that ``float`` reads back."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def encode(event: Event) -> bytes:
    """The event's line, newline included. Non-finite numbers must be strings already: the line is strict JSON."""
    head = {"seq": event.seq, "lease": event.lease, "time": event.time, "type": event.type}
    body = _ENCODER.encode({**head, **event.fields}).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Event:
    """The event on one line (with or without its newline). Raises ValueError where the line is not what was written."""
    line = line.rstrip(b"\n")
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != b',"crc32":"%08x"}' % zlib.crc32(body):
        raise ValueError("its checksum does not match")
    text = body.decode() + "}"
    fields, end = _DECODER.raw_decode(text)  # what json.loads does, without looking for white space around it
    if end != len(text):
        raise ValueError("something stands behind its end")
    return Event(fields.pop("seq"), fields.pop("lease"), fields.pop("time"), fields.pop("type"), fields)


class Line(NamedTuple):
    """A line as it lies in a store: ``place`` is what an error names, ``end`` the offset behind it."""

    content: bytes
    place: str
    end: int

    @property
    def torn(self) -> bool:
        """Whether its write was cut short. Only the last line can be."""
        return not self.content.endswith(b"\n")


def parse(lines: Iterable[Line], first: int = 0, lease: int = 0) -> Iterator[tuple[Event, Line]]:
    """Each whole event with its line; a torn last line ends it. Raises JournalError on any other damage.

    ``first`` is the number of the first, ``lease`` that of the record before it.
    """
    for seq, line in enumerate(lines, first):
        if line.torn:
            return
        try:
            event = decode(line.content)
            if event.seq != seq or event.lease < lease:
                raise ValueError(f"it has seq {event.seq} of lease {event.lease}, after {seq - 1} of lease {lease}")
        except (ValueError, KeyError) as error:
            raise JournalError(
                f"{line.place} (record {seq}): {error}",
                hint="nothing was changed; put back a copy that is whole",
            ) from None
        lease = event.lease
        yield event, line
