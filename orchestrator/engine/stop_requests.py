"""How a running sweep is asked to stop: Ctrl-C, SIGTERM, a closed terminal, or a request left in the run directory."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any

from orchestrator.rundir import RunDirectory

# What runs may come to the end of its epoch for this long; then it is cut off and loses the epoch it was in.
GRACE_SECONDS = 8.0
_POLL_SECONDS = 0.5
# Who stops a job may tell both the process that supervises a driver, which passes it on, and the driver.
_ECHO_SECONDS = 0.3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """While entered, turns the first SIGINT, SIGTERM or SIGHUP into ``asked`` and a second into KeyboardInterrupt.

    The same one again within 0.3 s is its echo.
    Under ``nohup``, SIGHUP goes on being ignored.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._trials: frozenset[int] = frozenset()
        self._promotions: frozenset[int] = frozenset()
        self._run: RunDirectory | None = None
        self._asked_at: float | None = None
        self._polled = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = catch(self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        give_back(self._before)
        self._forget()

    def watch(self, run: RunDirectory) -> None:
        """Read the requests that are left in this run directory from now on; older ones are forgotten."""
        self._run = run
        self._forget()

    @property
    def asked(self) -> str:
        """Why the sweep is to stop; empty while nobody has asked."""
        self._poll()
        if self._asked_at is None:
            return ""
        return signal.Signals(self.signal).name if self.signal else "sweep stop"

    @property
    def trials(self) -> frozenset[int]:
        """Trials that somebody wants ended."""
        self._poll()
        return self._trials

    @property
    def promotions(self) -> frozenset[int]:
        """Trials that were set aside and that somebody wants to go on."""
        self._poll()
        return self._promotions

    @property
    def overdue(self) -> bool:
        """Whether the time for a clean end is over."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > GRACE_SECONDS

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, else 0."""
        return 128 + self.signal if self.signal else 0

    def done(self, trial: int) -> None:
        """The end of a trial that was asked for has come."""
        self._trials -= {trial}
        if self._run:
            self._run.answer(self._run.stop_request(trial))

    def promoted(self, trial: int) -> None:
        """What was asked for has been done, or cannot be."""
        self._promotions -= {trial}
        if self._run:
            self._run.answer(self._run.promote_request(trial))

    def _poll(self) -> None:
        if self._run is None or time.monotonic() - self._polled <= _POLL_SECONDS:
            return
        self._polled = time.monotonic()
        with contextlib.suppress(OSError):
            names = self._run.asked()
            if "stop" in names:
                self._asked_at = self._asked_at or time.monotonic()
            self._trials, self._promotions = _numbers(names, "stop-"), _numbers(names, "promote-")

    def _forget(self) -> None:
        if self._run is None:
            return
        with contextlib.suppress(OSError):
            self._run.forget_requests()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is not None:
            if number == self.signal and time.monotonic() - self._asked_at < _ECHO_SECONDS:
                return
            raise KeyboardInterrupt
        self.signal, self._asked_at = number, time.monotonic()


def catch(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Let SIGINT, SIGTERM and SIGHUP come to the handler; returns who had them. Under nohup SIGHUP stays ignored."""
    hung_up = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    taken = [number for number in _SIGNALS if not (number == signal.SIGHUP and hung_up)]
    return {number: signal.signal(number, handler) for number in taken}


def give_back(before: Mapping[int, Any]) -> None:
    """Undo `catch`, by what it returned."""
    for number, handler in before.items():
        signal.signal(number, handler)


def _numbers(names: Iterable[str], prefix: str) -> frozenset[int]:
    """The trials that requests of one kind name."""
    numbers = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return frozenset(int(number) for number in numbers if number.isdecimal() and number.isascii())
