"""The form of the journal: one JSON object a line, ``{"seq", "lease", "time", "type", …fields, "crc32"}``.

``crc32`` (zlib's, eight hex digits) covers the bytes of the line before it; ``seq`` counts from 0 and is the only
order; ``lease`` is the writer's and never decreases; ``time`` (Unix seconds) is for display. If the wall clock was set
or the machine suspended, ``passed`` holds the seconds since the writer's previous record. `docs/journal-format.md`
describes the fields of every event and the policy for versions.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from orchestrator.errors import JournalError, JournalVersionError
from orchestrator.journal.record_fields import (
    MAX_DEPTH,
    field_problem,
    holds_long_integer,
    is_time,
    is_too_deep,
    spec_problem,
)
from orchestrator.secrets import allow

FORMAT = 2
"""The format that this program writes, and the newest that it reads. Increase it for every new event type, and for a
field without which an older program would draw a wrong conclusion."""
_VERSIONED = frozenset({"sweep.created", "sweep.launched"})  # the events that carry the format of what follows them
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # made once: creating it is half of the cost
_LONG_INTEGER = re.compile(r"\d{309}")  # none of fewer digits is too large for a float
_TAIL = len(',"crc32":"00000000"}')


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of strict JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


@dataclass(frozen=True, slots=True)
class Event:
    """One record: what happened, when, and under which lease it was written.

    ``passed`` is the time since the writer's previous record in seconds, if ``time`` does not tell it.
    """

    seq: int
    lease: int
    time: float
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    passed: float | None = None

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def progress(self) -> float:
        """How far the trial was, in the sweep's unit. A journal of version 0.1.0 has ``epoch`` alone, its unit."""
        progress: float = self.fields["progress"] if "progress" in self.fields else self.fields["epoch"]
        return progress


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with NaN and infinities as text that ``float`` reads back: strict JSON has neither."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def encode(event: Event) -> bytes:
    """Return the event's line, newline included. Non-finite numbers must be text already: see `plain`."""
    head: dict[str, Any] = {"seq": event.seq, "lease": event.lease, "time": event.time, "type": event.type}
    if event.passed is not None:
        head["passed"] = event.passed
    body = _ENCODER.encode({**head, **event.fields}).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Event:
    """Return the event on one line (with or without its newline).

    Raises ValueError if the line was altered, or if it is no record although its checksum is right.
    """
    line = line.rstrip(b"\n")
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != b',"crc32":"%08x"}' % zlib.crc32(body):
        raise ValueError("its checksum does not match")
    text = body.decode() + "}"
    try:
        fields, end = _DECODER.raw_decode(text)  # as json.loads, without the search for white space
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    if end != len(text):
        raise ValueError("text follows its end")
    if text.count("{") + text.count("[") > MAX_DEPTH and is_too_deep(fields):
        raise ValueError("its values are nested too deeply")
    if _LONG_INTEGER.search(text) and holds_long_integer(fields):
        raise ValueError("it holds an integer that is too large for a float")
    head = fields.pop("seq"), fields.pop("lease"), fields.pop("time"), fields.pop("type")
    passed = fields.pop("passed", None)
    seq, lease, time, kind = head
    if type(seq) is not int or type(lease) is not int or type(time) not in (int, float) or type(kind) is not str:
        raise ValueError("its seq, lease, time or type is of another type")
    if not is_time(time) or not (passed is None or is_time(passed)):
        raise ValueError("its time is not one")
    return Event(*head, fields, passed)


class Line(NamedTuple):
    """A line of a store: ``place`` names it in an error, ``end`` is the offset after it."""

    content: bytes
    place: str
    end: int

    @property
    def torn(self) -> bool:
        """Whether its write was interrupted, so that its newline is missing. Only the last line can be torn."""
        return not self.content.endswith(b"\n")


def parse(lines: Iterable[Line], first: int = 0, lease: int = 0) -> Iterator[tuple[Event, Line]]:
    """Yield each complete event with its line, up to a torn last line.

    Args:
        lines: Consecutive lines of a journal.
        first: The number of the first record among them.
        lease: The lease of the record before it.

    Raises:
        JournalError: A line other than the last is damaged, or records are missing or out of order.
        JournalVersionError: An event's ``format`` is newer than `FORMAT`.
    """
    for seq, line in enumerate(lines, first):
        if line.torn:
            return
        try:
            event = decode(line.content)
            if seq and (event.seq, event.lease) == (seq - 1, lease):
                raise JournalError(
                    f"{line.place} (record {seq}): there are two records of number {event.seq}, as version 0.1.0 left "
                    "them if it was interrupted while it wrote",
                    hint="nothing was changed; write a repaired copy: sweep verify NAME --repair",
                )
            if event.seq != seq or event.lease < lease:
                raise ValueError(f"it has seq {event.seq} of lease {event.lease}, after {seq - 1} of lease {lease}")
        except (ValueError, KeyError) as error:
            raise JournalError(
                f"{line.place} (record {seq}): {error}",
                hint="nothing was changed; restore an undamaged copy",
            ) from None
        if event.type in _VERSIONED:
            _check_format(event)
        lease = event.lease
        allow_names(event.type, event.fields)
        yield event, line


def event_problem(event: Event) -> str:
    """Return what is wrong with an event's fields; empty if they can be what the event says."""
    problem = field_problem(event.type, event.fields)
    if not problem and event.type == "sweep.created":
        problem = spec_problem(event["spec"])
    return problem


def allow_names(type: str, fields: Mapping[str, Any]) -> None:
    """Never mask what has the form of a name in the sweep's spec and parameters, and the names of its metrics."""
    if type == "sweep.created":
        allow(fields.get("spec"))
    elif type == "trial.suggested":
        allow(fields.get("params"))
    elif type == "segment.reported" and isinstance(metrics := fields.get("metrics"), Mapping):
        _allow_metrics(tuple(metrics))


@lru_cache(maxsize=256)
def _allow_metrics(names: tuple[str, ...]) -> None:
    """Allow the names of a report's metrics, once: most reports of a sweep have the same."""
    allow(names)


def _check_format(event: Event) -> None:
    """Raise JournalVersionError if the event's ``format`` is newer than this program's; without one, it is 1."""
    written = event.fields.get("format", 1)
    if isinstance(written, int) and written <= FORMAT:
        return
    raise JournalVersionError(
        f"the journal has format {written!r} from record {event.seq} on, but sweep-orchestrator {program_version()} "
        f"reads formats up to {FORMAT}",
        hint=f"nothing was changed; {upgrade_hint(writer_version(event))}",
    )


def writer_version(event: Event) -> str:
    """Return the program's version that ``sweep.created`` or ``sweep.launched`` recorded; empty if there is none."""
    versions = event.fields.get("versions")
    recorded = versions.get("sweep-orchestrator") if isinstance(versions, Mapping) else event.fields.get("version")
    return recorded if isinstance(recorded, str) else ""


def upgrade_hint(writer: str) -> str:
    """Return which version to install to read what the version ``writer`` has written; empty if it is unknown."""
    newer = writer if writer != program_version() else ""
    return f"install sweep-orchestrator {newer} or later" if newer else "install a newer version of sweep-orchestrator"


@cache
def program_version() -> str:
    """Return the version of the installed distribution; ``unknown`` in a source tree that is not installed."""
    try:
        return version("sweep-orchestrator")
    except PackageNotFoundError:
        return "unknown"
