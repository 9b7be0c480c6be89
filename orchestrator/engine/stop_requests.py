"""Requests to a running sweep: Ctrl-C, SIGTERM, a closed terminal, or a file in the run directory."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoppedError
from orchestrator.rundir.stop_times import due_stop, is_later_stop

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory


REQUESTED = "sweep stop"
"""The reason of a stop by a file in the run directory."""
# A running segment has this long to end its batch and save a checkpoint, or longer if saving takes longer; then it is
# killed, and loses what it trained since its last checkpoint.
GRACE_SECONDS = 8.0
_LONGEST_GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.5
_POLL_SHARE = 0.01  # of the time at most: a local sweep polls between two batches
# A job system may signal both the driver and the process that supervises it, which forwards the signal.
_ECHO_SECONDS = 0.3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SecondSignal(KeyboardInterrupt):
    """A second stop signal: the person will not wait. Unlike a KeyboardInterrupt that a module's own code raises."""


class StopRequests:
    """While entered, turn the first SIGINT, SIGTERM or SIGHUP into a `reason` and a second into `SecondSignal`.

    The same signal within 0.3 s of the first is an echo and ignored. Under ``nohup``, SIGHUP stays ignored.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._trials_to_stop: frozenset[int] = frozenset()
        self._trials_to_promote: frozenset[int] = frozenset()
        self._run: RunDirectory | None = None
        self._requested_at: float | None = None
        self._draining = False
        self._raises = False
        self._grace = GRACE_SECONDS
        self._poll_at = 0.0
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = install_handlers(self._on_signal)
            _entered.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        restore_handlers(self._previous_handlers)
        if self in _entered:
            _entered.remove(self)
        self._delete_requests(keep_later=kind is not None)  # a driver that replaces this one stops at that time

    def watch(self, run: RunDirectory) -> None:
        """Read the requests in this run directory from now on; delete older ones, but those for a later time."""
        self._run = run
        self._delete_requests(keep_later=True)

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Meanwhile, raise StoppedError as soon as a signal comes: nothing runs that has to end cleanly.

        At the end it is raised in any case, whatever the code that ran has made of it.
        """
        self._raises = True
        try:
            self._raise()
            yield
        finally:
            try:
                self._raise()
            finally:
                self._raises = False

    def _raise(self) -> None:
        if self.signal and self._raises:
            raise StoppedError(self.signal)

    @property
    def reason(self) -> str:
        """Why the sweep is to stop: a signal's name or ``sweep stop``; empty if no stop was requested."""
        self._poll()
        if self._requested_at is None:
            return ""
        return signal.Signals(self.signal).name if self.signal else REQUESTED

    @property
    def draining(self) -> bool:
        """Whether no new segment may start and each running one is to end at its next report."""
        self._poll()
        return self._draining

    @property
    def trials_to_stop(self) -> frozenset[int]:
        """Trials with an open stop request."""
        self._poll()
        return self._trials_to_stop

    @property
    def trials_to_promote(self) -> frozenset[int]:
        """Trials with an open promotion request."""
        self._poll()
        return self._trials_to_promote

    @property
    def overdue(self) -> bool:
        """Whether the grace period for a clean end is over."""
        return self._requested_at is not None and time.monotonic() - self._requested_at > self._grace

    def note_saving(self, seconds: float) -> None:
        """Note what a checkpoint took: the grace period is at least twice as long, and at most a minute."""
        self._grace = max(self._grace, min(GRACE_SECONDS / 2 + 2 * seconds, _LONGEST_GRACE_SECONDS))

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, else 0."""
        return 128 + self.signal if self.signal else 0

    def close_stop(self, trial: int) -> None:
        """Delete a trial's stop request."""
        self._trials_to_stop -= {trial}
        if self._run:
            self._run.remove_request(self._run.stop_request(trial))

    def close_promotion(self, trial: int) -> None:
        """Delete a trial's promotion request."""
        self._trials_to_promote -= {trial}
        if self._run:
            self._run.remove_request(self._run.promote_request(trial))

    def _poll(self) -> None:
        if self._run is None or time.monotonic() <= self._poll_at:
            return
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            names = self._run.pending_requests()
            due = {due_stop(name, time.time()) for name in names}
            if "stop" in names or "stop" in due:
                self._requested_at = self._requested_at or time.monotonic()
            self._draining = self._draining or "drain" in names or "drain" in due
            self._trials_to_stop = _trial_numbers(names, "stop-")
            self._trials_to_promote = _trial_numbers(names, "promote-")
        now = time.monotonic()
        self._poll_at = now + _POLL_SECONDS + (now - begun) / _POLL_SHARE

    def _delete_requests(self, *, keep_later: bool) -> None:
        if self._run is None:
            return
        with contextlib.suppress(OSError):
            now, names = time.time(), self._run.pending_requests() if keep_later else ()
            self._run.clear_requests({name for name in names if is_later_stop(name, now)})

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._requested_at is not None:
            if number == self.signal and time.monotonic() - self._requested_at < _ECHO_SECONDS:
                return
            raise SecondSignal
        self.signal, self._requested_at = number, time.monotonic()
        self._raise()


_entered: list[StopRequests] = []


def _let_children_end() -> None:
    """Give SIGTERM its earlier effect in a process that a trial forks: ``multiprocessing.Pool`` ends its workers by it.

    SIGINT stays ignored there: Ctrl-C comes to them, too, and the trial still needs them to end its batch.
    """
    if _entered:
        signal.signal(signal.SIGTERM, _entered[0]._previous_handlers.get(signal.SIGTERM, signal.SIG_DFL))


os.register_at_fork(after_in_child=_let_children_end)


def install_handlers(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle SIGINT, SIGTERM and SIGHUP; return the previous handlers. Under nohup, SIGHUP stays ignored."""
    ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in _SIGNALS if not (number == signal.SIGHUP and ignores_hangup)]
    return {number: signal.signal(number, handler) for number in numbers}


def restore_handlers(previous: Mapping[int, Any]) -> None:
    """Undo `install_handlers`, given what it returned."""
    for number, handler in previous.items():
        signal.signal(number, handler)


def _trial_numbers(names: Iterable[str], prefix: str) -> frozenset[int]:
    numbers = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return frozenset(int(number) for number in numbers if number.isdecimal() and number.isascii())
