"""A driver that outlives its cluster: it has a process of its own, and where that ends without a word another goes on.

Ray ends a driver whose head has been gone for a minute, out of C++, with nothing that Python could catch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from orchestrator.cli.app import complain
from orchestrator.engine.stop_requests import catch, give_back
from orchestrator.errors import ClusterLostError, SweepError
from orchestrator.rundir import RunDirectory

# To the driver: the pipe that it tells its end through, who supervises it, and whether it is the first.
_ENVIRONMENT = "SWEEP_SUPERVISED"
_RESTARTS = 3  # with not one report in between
_KILL_SECONDS = 5.0  # after a second signal
_PDEATHSIG = 1
_LOST = "lost"
_driver: list[str] = []  # what this process was told, if it is a driver


@contextlib.contextmanager
def driving() -> Iterator[None]:
    """Where this process is a driver that somebody supervises: say how it ended, and end with who does."""
    _driver[:] = os.environ.pop(_ENVIRONMENT, "").split()
    if not _driver:
        yield
        return
    pipe = int(_driver[0])
    os.set_inheritable(pipe, False)
    _end_with(int(_driver[1]))
    code: Any = 1
    try:
        yield
        code = 0
    except SystemExit as ended:
        code = ended.code
        raise
    finally:
        if _LOST not in _driver:
            with contextlib.suppress(OSError):
                os.write(pipe, str(code if isinstance(code, int) else int(code is not None)).encode())


def supervised() -> bool:
    """Whether somebody supervises this process."""
    return bool(_driver)


def alone(address: str, local: bool) -> bool:
    """Whether a sweep is to run on a cluster, and nobody supervises this process."""
    return bool(address) and not local and not supervised()


def again() -> bool:
    """Whether this process goes on with what another driver could not: it waits for its cluster."""
    return "again" in _driver


def another_goes_on(error: SweepError) -> bool:
    """Whether that ends this driver alone: its cluster has gone, and who supervises it is to start another."""
    if supervised() and isinstance(error, ClusterLostError):
        _driver.append(_LOST)
    return _LOST in _driver


def supervise(run: RunDirectory, words: Sequence[str]) -> int:
    """Run this very command in a process of its own, and return its exit code.

    Where that ends without a word, another goes on: with the same command as long as nothing has come on record of it,
    then by ``sweep`` with ``words``. Signals are passed on; after the first nothing is started any more.

    Raises SweepError where it ends so again and again with nothing done in between.
    """
    arguments, told, fruitless = sys.argv[1:], "first", 0
    at_first, before = _on_record(run)
    with _Signals() as signals:
        while True:
            code, own = _ended(arguments, told, signals)
            if own is not None:
                return own
            if signals.first:
                return 128 + signals.first
            last, after = _on_record(run)
            fruitless, before = 0 if after > before else fruitless + 1, after
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            if fruitless > _RESTARTS:
                raise SweepError(
                    f"the driver has ended {fruitless} times with its cluster, the last time {how}, and with nothing "
                    "done in between",
                    hint=f"nothing that finished is lost; once the cluster is well: sweep {shlex.join(words)}",
                )
            complain(f"the driver ended {how} with its cluster; another goes on once that answers")
            if last >= 0:
                told = "again"
            if last > at_first:
                arguments = list(words)


def _ended(arguments: Sequence[str], told: str, signals: _Signals) -> tuple[int, int | None]:
    """Run a driver: how its process ended, and the exit code that it gave itself; None where it gave none."""
    ours, its = os.pipe()
    try:
        driver = subprocess.Popen(
            [sys.executable, *_switches(), "-m", "orchestrator", *arguments],
            env={**os.environ, _ENVIRONMENT: f"{its} {os.getpid()} {told}"},
            pass_fds=[its],
            start_new_session=True,  # a terminal's Ctrl-C comes to us, and from us to it, once
        )
    finally:
        os.close(its)
    with signals.passed_on(driver):
        code = driver.wait()
    os.set_blocking(ours, False)  # what the driver has left behind may hold its end
    with os.fdopen(ours) as pipe:
        own = pipe.read(8)
    return code, int(own) if own else None


class _Signals:
    """While entered, signals are passed on to the driver; a driver that a second one does not end is killed."""

    def __init__(self) -> None:
        self.first = 0
        self._count = 0
        self._waiting: list[int] = []
        self._driver: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._before = catch(self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        give_back(self._before)

    @contextlib.contextmanager
    def passed_on(self, driver: subprocess.Popen[bytes]) -> Iterator[None]:
        self._driver = driver
        self._pass_on()
        try:
            yield
        finally:
            self._driver = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or number
        self._count += 1
        self._waiting.append(number)
        self._pass_on()

    def _pass_on(self) -> None:
        driver = self._driver
        while driver is not None and self._waiting:
            driver.send_signal(self._waiting.pop(0))
            if self._count == 2:
                timer = threading.Timer(_KILL_SECONDS, driver.kill)
                timer.daemon = True
                timer.start()


def _switches() -> list[str]:
    """This interpreter's own: warnings, -X, -O."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]


def _end_with(supervisor: int) -> None:
    """End when that process does, however it ends. Where the system has no word for that, Ray's workers go on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)


def _on_record(run: RunDirectory) -> tuple[int, int]:
    """The number of the last event, from 0, and how many reports there are; -1 and 0 where there is no sweep yet."""
    from orchestrator.errors import JournalError, UsageError
    from orchestrator.results.run_state import read_state

    try:
        state = read_state(run)
    except (JournalError, UsageError, OSError):
        return -1, 0
    return state.seq, sum(len(trial.reports) for trial in state.trials.values())
