"""Requests to stop a sweep at a time, or after the running trials' next reports: names of empty files.

``stop`` and ``drain`` mean now, ``stop-at-1764525600`` a time in Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from orchestrator.rundir.run_directory import RunDirectory

_LATER = re.compile(r"(stop|drain)-at-([0-9]{1,11})")


def due_stop(request: str, now: float) -> str:
    """Return ``stop`` or ``drain`` if a request asks for that at a time that has come by ``now``; else empty."""
    match = _LATER.fullmatch(request)
    return match[1] if match and int(match[2]) <= now else ""


def is_later_stop(request: str, now: float = 0.0) -> bool:
    """Return whether a request asks for a stop at a time after ``now``."""
    match = _LATER.fullmatch(request)
    return bool(match) and int(match[2]) > now  # type: ignore[index]


def pending_stops(run: RunDirectory) -> list[str]:
    """Return when each requested stop is: ``at the next batch``, or ``on 2026-11-30 at 18:00``."""
    try:
        return [_phrase(kind, at) for kind, at in _stops(run.pending_requests())]
    except OSError:
        return []


def _stops(requests: Iterable[str]) -> list[tuple[str, int]]:
    """Return each stop and when: 0 for now."""
    now = [(name, 0) for name in requests if name in ("stop", "drain")]
    later = [(match[1], int(match[2])) for name in requests if (match := _LATER.fullmatch(name))]
    return [*now, *sorted(later, key=lambda stop: stop[1])]


def _phrase(kind: str, at: int) -> str:
    when = f"{datetime.fromtimestamp(at):on %Y-%m-%d at %H:%M}" if at else ""
    how = "after the current reports" if kind == "drain" else ""
    return ", ".join(filter(None, (when, how))) or "at the next batch"
