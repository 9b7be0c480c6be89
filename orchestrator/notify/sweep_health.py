"""Notice what goes wrong while nobody looks: nothing happens, many trials fail, time or disk run out. And each day.

The sweep's thread feeds `SweepHealth.observe`; a thread of its own asks `SweepHealth.notes` from time to time, which
reads numbers that the other has left, and no state.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.journal import Event
from orchestrator.notify.messages import Note, note
from orchestrator.progress import counted
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

STUCK_SECONDS = 1800.0
"""The shortest time without any event or live progress that counts as stuck."""
_STUCK_GAPS = 4.0  # or so many times the longest time between two events
_MANY = 3  # failed trials, if they are half of those that have ended
_LEAST_FREE = 1_000_000_000  # bytes
_CHECKPOINTS = 4.0  # or room for so many checkpoints of each slot
_HALF = 0.5  # of the time, before which a pace says little
_BEHIND = 0.8  # the share of the time that the trials need which the budget must have
_DAY = 86_400.0


@dataclass
class SweepHealth:
    """What one sweep's events show, and which notices were sent.

    Attributes:
        run: its directory.
        clock: a monotonic clock.
        free: returns the free bytes of the run's disk; None if that is not known.
        until_trials_end: returns the seconds until the last trial would end; None if that is not known.
    """

    run: RunDirectory
    clock: Callable[[], float] = time.monotonic
    free: Callable[[RunDirectory], int | None] = field(default=lambda run: free_bytes(run))
    until_trials_end: Callable[[SweepState], float | None] = lambda state: None
    _state: SweepState | None = None
    _numbers: dict[str, float] = field(default_factory=dict)
    _sent: set[str] = field(default_factory=set)
    _live: tuple[bytes, float] = (b"", 0.0)  # the last live progress, and since when

    def observe(self, state: SweepState, event: Event) -> None:
        """Take an event; called by the thread that runs the sweep."""
        now, numbers, self._state = self.clock(), self._numbers, state
        if event.type == "sweep.launched":
            numbers.clear()
            self._sent.clear()
            numbers |= {"launched": now, "day": now, "ended_before": state.ended, "seconds": state.active_seconds}
        numbers["gap"] = max(numbers.get("gap", 0.0), now - numbers.get("last", now))
        numbers["last"] = now
        self._sent.discard("stuck")
        numbers["size"] = max(numbers.get("size", 0.0), float(event.fields.get("size") or 0))
        budget = state.spec["budget"]
        numbers |= {
            "ended": state.ended,
            "failed": state.count("failed"),
            "slots": state.slots,
            "limit": budget.get("trials") or 0,
            "wall_clock": budget.get("wall_clock") or 0,
        }

    def notes(self, live: bytes = b"") -> Iterator[Note]:
        """Yield the notices that are due; ``live`` differs while a trial trains between two reports."""
        numbers, now = dict(self._numbers), self.clock()
        if "launched" not in numbers:
            return
        checks = (
            self._stuck(numbers, now, live),
            self._failures(numbers),
            self._disk(numbers),
            self._behind(numbers, now),
        )
        for occasion, text in (check for check in checks if check):
            if occasion not in self._sent:
                self._sent.add(occasion)
                yield note(occasion, self.run.name, text)  # type: ignore[arg-type]
        if now - numbers["day"] >= _DAY:
            self._numbers["day"] = now
            ended = f"{numbers['ended']:.0f}" + (f" of {numbers['limit']:.0f}" if numbers["limit"] else "")
            new = numbers["ended"] - numbers.get("ended_yesterday", numbers["ended_before"])
            self._numbers["ended_yesterday"] = numbers["ended"]
            days = (now - numbers["launched"]) / _DAY
            failed = f"{numbers['failed']:.0f} failed"
            text = f"after {counted(round(days), 'day')}: {ended} trials ended, {new:.0f} in the last day, {failed}"
            yield note("daily", self.run.name, text)

    def _stuck(self, numbers: dict[str, float], now: float, live: bytes) -> tuple[str, str] | None:
        if live != self._live[0]:
            self._live = live, now
        silent = now - max(numbers["last"], self._live[1])
        if silent <= max(STUCK_SECONDS, _STUCK_GAPS * numbers["gap"]):
            return None
        return "stuck", f"is stuck: no report, no end and no progress of a trial for {silent / 60:.0f} minutes"

    def _failures(self, numbers: dict[str, float]) -> tuple[str, str] | None:
        failed, ended = numbers["failed"], numbers["ended"]
        if failed < _MANY or failed < ended / 2:
            return None
        return "many_failures", f"loses many trials: {failed:.0f} of the {ended:.0f} that have ended failed"

    def _disk(self, numbers: dict[str, float]) -> tuple[str, str] | None:
        free = self.free(self.run)
        needed = max(_LEAST_FREE, _CHECKPOINTS * numbers["slots"] * numbers["size"])
        if free is None or free >= needed:
            if free is not None and free > 2 * needed:
                self._sent.discard("disk")
            return None
        return "disk", f"has little room: {free / 1e9:.1f} GB are free for {self.run.where}"

    def _behind(self, numbers: dict[str, float], now: float) -> tuple[str, str] | None:
        """Compare the time that the trials still need with a budget that has both a time and a number of trials."""
        spent = numbers["seconds"] + now - numbers["launched"]
        budget = numbers["wall_clock"]
        if not budget or not numbers["limit"] or spent < _HALF * budget or self._state is None:
            return None
        left = self.until_trials_end(self._state)
        if left is None:
            left = max(0.0, numbers["limit"] / max(1.0, numbers["ended"]) - 1) * spent  # at the pace so far
        if spent + left <= budget / _BEHIND:
            return None
        over = (spent + left - budget) / 60
        return "behind_plan", (
            f"is behind its plan: its trials need about {over:,.0f} minutes more than budget.wall_clock allows; "
            f"{numbers['ended']:.0f} of {numbers['limit']:.0f} have ended"
        )


def free_bytes(run: RunDirectory) -> int | None:
    """Return the free bytes of the disk that a run is on; None in object storage or if it cannot be read."""
    if run.url:
        return None
    try:
        return shutil.disk_usage(run.root).free
    except OSError:
        return None
