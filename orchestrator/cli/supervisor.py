"""Supervise a driver that may die with its Ray cluster: run it in its own process, and replace it if it dies.

Ray ends a driver from C++ once the head node has been unreachable for a minute; Python cannot catch that. A driver
reports its exit code through a pipe before it ends. If no exit code arrives, the supervisor starts a replacement, which
resumes the run.
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
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import warn
from orchestrator.engine.stop_requests import install_handlers, restore_handlers
from orchestrator.errors import ClusterLostError, SweepError

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory

# Set for a driver: the pipe for its exit code, the supervisor's process id, and "first" or "replacement".
_ENVIRONMENT = "SWEEP_SUPERVISED"
_RESTARTS = 3  # without a report in between
_KILL_SECONDS = 5.0  # after a second signal
_PDEATHSIG = 1
_REPLACEMENT = "replacement"
_LOST = "lost"
_driver: list[str] = []  # the words of _ENVIRONMENT if this process is a driver, and _LOST once its cluster is lost


@contextlib.contextmanager
def report_exit_code() -> Iterator[None]:
    """Report this process's exit code if it is a supervised driver, and die with the supervisor."""
    _driver[:] = os.environ.pop(_ENVIRONMENT, "").split()
    if not _driver:
        yield
        return
    pipe = int(_driver[0])
    os.set_inheritable(pipe, False)
    die_with(int(_driver[1]))
    with on_exit(lambda code: None if _LOST in _driver else _write(pipe, code)):
        yield


@contextlib.contextmanager
def on_exit(report: Callable[[int], None]) -> Iterator[None]:
    """Call ``report`` with the exit code that the process would have: 1 for any exception but SystemExit."""
    code: Any = 1
    try:
        yield
        code = 0
    except SystemExit as exit_request:
        code = exit_request.code
        raise
    finally:
        report(code if isinstance(code, int) else int(code is not None))


def _write(pipe: int, code: int) -> None:
    with contextlib.suppress(OSError):
        os.write(pipe, str(code).encode())


def supervised() -> bool:
    """Return whether this process is a supervised driver."""
    return bool(_driver)


def needs_supervisor(address: str, local: bool) -> bool:
    """Return whether this process is to supervise a driver: the sweep runs on a cluster, and it is no driver itself."""
    return bool(address) and not local and not supervised()


def is_replacement() -> bool:
    """Return whether this driver replaces one that died. A replacement waits for the cluster."""
    return _REPLACEMENT in _driver


def will_be_replaced(error: SweepError) -> bool:
    """Return whether the supervisor will replace this driver, which is so once its cluster is lost."""
    if supervised() and isinstance(error, ClusterLostError):
        _driver.append(_LOST)
    return _LOST in _driver


def supervise(run: RunDirectory, *, resume_with: Sequence[str], extra_arguments: Sequence[str] = ()) -> int:
    """Run this command in a driver process, and return its exit code.

    If the driver dies without an exit code, start a replacement: with the same arguments while the journal has no new
    event, then as ``sweep RESUME_WITH``. Signals are passed on to the driver; after the first, no driver is started.

    Args:
        run: the run of the driver, whose journal shows its progress.
        resume_with: arguments of the command that resumes the run.
        extra_arguments: arguments to add to this command's own.

    Raises:
        SweepError: if drivers die repeatedly without a report in between.
    """
    arguments, role, deaths_without_report = [*sys.argv[1:], *extra_arguments], "first", 0
    first_event, reports_before = _progress(run)
    with _Signals() as signals:
        while True:
            status, exit_code = _run_driver(arguments, role, signals)
            if exit_code is not None:
                return exit_code
            if signals.first:
                return 128 + signals.first
            last_event, reports = _progress(run)
            deaths_without_report = 0 if reports > reports_before else deaths_without_report + 1
            reports_before = reports
            cause = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
            if deaths_without_report > _RESTARTS:
                raise SweepError(
                    f"the driver has died {deaths_without_report} times with its cluster without a report in between, "
                    f"the last time {cause}",
                    hint=f"no finished trial is lost; once the cluster works, run: sweep {shlex.join(resume_with)}",
                )
            warn(f"the driver died {cause} with its cluster; a replacement starts once the cluster answers")
            if last_event >= 0:
                role = _REPLACEMENT
            if last_event > first_event:
                arguments = list(resume_with)


def _run_driver(arguments: Sequence[str], role: str, signals: _Signals) -> tuple[int, int | None]:
    """Run a driver to its end; return its process's status, and the exit code that it reported or None."""
    reader, writer = os.pipe()
    try:
        driver = subprocess.Popen(
            [sys.executable, *interpreter_flags(), "-m", "orchestrator", *arguments],
            env={**os.environ, _ENVIRONMENT: f"{writer} {os.getpid()} {role}"},
            pass_fds=[writer],
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor, which passes it on once
        )
    finally:
        os.close(writer)
    with signals.passed_on(driver):
        status = driver.wait()
    os.set_blocking(reader, False)  # children of the driver may still hold the pipe's other end
    with os.fdopen(reader) as pipe:
        reported = pipe.read(8)
    return status, int(reported) if reported else None


class _Signals:
    """While entered, passes signals on to the driver, and kills a driver that survives a second one."""

    def __init__(self) -> None:
        self.first = 0
        self._count = 0
        self._waiting: list[int] = []
        self._driver: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._before = install_handlers(self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        restore_handlers(self._before)

    @contextlib.contextmanager
    def passed_on(self, driver: subprocess.Popen[bytes]) -> Iterator[None]:
        """Pass signals on to this driver, those that came before it included."""
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


def interpreter_flags() -> list[str]:
    """Return this interpreter's own flags: warnings, -X, -O."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]


def die_with(parent: int) -> None:
    """Die when the parent process dies, however it dies.

    Only Linux can do that; elsewhere Ray's workers continue.
    """
    prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system is Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _progress(run: RunDirectory) -> tuple[int, int]:
    """Return the last event's number, from 0, and the number of reports; -1 and 0 if there is no sweep yet."""
    from orchestrator.errors import JournalError, UsageError
    from orchestrator.results.run_state import read_state

    try:
        state = read_state(run)
    except (JournalError, UsageError, OSError):
        return -1, 0
    return state.seq, sum(len(trial.reports) for trial in state.trials.values())
