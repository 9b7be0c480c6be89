"""Run a local sweep in a forked process, which the trials' code may end; this one answers for it and resumes.

With ``--local`` trials train in the process that runs the sweep. A fault in native code or an exit from there ends that
process, perhaps with exit code 0. It reports its own exit code in shared memory, which survives closed descriptors. If
it ends without, the trial that it trained is recorded as lost, and another process resumes the sweep.
"""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.output import command_line, warn
from orchestrator.cli.supervisor import die_with, on_exit, prctl
from orchestrator.engine.fault_trace import fault_in_words, trace_faults
from orchestrator.engine.memory_kills import out_of_memory_kills
from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory

_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_FROM_OUTSIDE = {*_STOPS, signal.SIGKILL, signal.SIGQUIT}
_POLL_SECONDS = 0.5
_KILL_SECONDS = 5.0  # after a second signal
_LEAVE_SECONDS = 1.0  # for processes that a driver has left, to end by themselves, and after SIGTERM
_DEATHS = 12  # without a report in between: three trials with all their retries
_SENT_BY_KERNEL = 0x80  # SI_KERNEL: the terminal sends Ctrl-C to the whole process group
_CHILD_SUBREAPER = 36
_driver: list[_Report] = []  # of this process, if it is a forked driver
_is_command = False  # whether this process runs the command `sweep`


class _Report:
    """The exit code that a driver reports, in memory that it shares with its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2)

    def write(self, code: int) -> None:
        self._memory[:] = bytes([1, code & 0xFF])

    def read(self) -> int | None:
        return self._memory[1] if self._memory[0] else None


@dataclass(frozen=True)
class Crash:
    """How a driver has ended without reporting an exit code.

    Attributes:
        kind: ``lost`` or ``memory``, as `failure_policy.KINDS` has them.
        message: What ended it, in one line.
        trace: Python's stack at a fault in native code; empty if there is none.
    """

    kind: str
    message: str
    trace: str = ""


@contextlib.contextmanager
def report_exit_code() -> Iterator[None]:
    """Report this process's exit code if `fork_driver` makes it a forked driver meanwhile."""
    global _is_command
    _is_command = _is_program()
    with on_exit(_pass_to_parent):
        yield


def _pass_to_parent(code: int) -> None:
    """Write the exit code to the parent, if there is one."""
    global _is_command
    _is_command = False
    for report in _driver:
        report.write(code)


def _is_program() -> bool:
    """Return whether this process is ``sweep`` or ``python -m orchestrator``, not a program that calls ``main``.

    In the latter, a forked process would return into that program, too, and do the rest of it a second time.
    """
    program = sys.modules.get("__main__")
    spec = getattr(program, "__spec__", None)
    if spec is not None:
        return bool(spec.name == "orchestrator.__main__")
    return Path(getattr(program, "__file__", None) or "").name == "sweep"


def fork_driver(run: RunDirectory) -> Crash | None:
    """Return in a forked process that runs the sweep; this process exits with that one's exit code.

    If that process ends without reporting an exit code, return in another one, with the reason. Stop signals are passed
    on, and a process that survives a second one is killed after five seconds. What trials leave running is ended.

    A run in object storage, a system other than Linux, and a caller that is another program go on in their own process.

    Args:
        run: the run of the sweep.

    Raises:
        SweepError: if the process ends again and again without a report in between.
    """
    if not _is_command or _driver or run.url or threading.active_count() > 1 or not hasattr(signal, "sigtimedwait"):
        return None
    crash: Crash | None = None
    parent, deaths, reports = _Parent(), 0, 0
    while True:
        if parent.fork():
            return crash
        end = parent.wait()
        if isinstance(end, int):
            parent.leave()
            raise typer.Exit(end)
        crash, before, reports = end, reports, _count_reports(run)
        deaths = 0 if reports > before else deaths + 1
        if deaths >= _DEATHS:
            parent.leave()
            raise SweepError(
                f"the sweep's process has ended {deaths} times without a report in between: {crash.message}",
                hint=f"nothing that finished is lost; correct the code, then: {_resume(run)}",
            )


def continue_after(crash: Crash, run: RunDirectory) -> None:
    """Record the segment that a driver trained when it crashed as failed, in a replacement of that driver.

    Args:
        crash: the driver's end.
        run: the run; if it has finals, the segment may be theirs.

    Raises:
        SweepError: No segment was running, so that nothing shows what would not happen again.
    """
    from orchestrator.engine.failure_policy import SegmentFailure
    from orchestrator.secrets import write_masked
    from orchestrator.sweep.lost_process import record_loss

    for each in _with_finals(run):
        for trial, segment in record_loss(each, SegmentFailure(crash.kind, crash.message, "lost")).items():
            warn(f"trial {trial} of {each.name}: {crash.message}; the sweep continues in another process")
            if crash.trace:
                with contextlib.suppress(OSError):
                    write_masked(each.trial(trial) / "logs" / f"error_segment_{segment}.txt", crash.trace)
            return
    raise SweepError(
        f"the sweep's process ended while no trial was training: {crash.message}",
        hint="code that is imported may end the process" + (f"; resume: {_resume(run)}" if run.exists() else ""),
    )


def _count_reports(run: RunDirectory) -> int:
    """Return how many reports the journals of a run and of its finals hold."""
    from orchestrator.results.run_state import read_state

    return sum(len(trial.reports) for each in _with_finals(run) for trial in read_state(each).trials.values())


def _with_finals(run: RunDirectory) -> Iterator[RunDirectory]:
    """Yield the run and its finals, as far as they have begun."""
    from orchestrator.results.run_state import has_begun, read_state
    from orchestrator.results.winner import finals_of

    if has_begun(run):
        yield run
        finals = finals_of(run, read_state(run))
        if has_begun(finals):
            yield finals


def _resume(run: RunDirectory) -> str:
    return command_line("resume", run.name, run.runs, "--local")


class _Parent:
    """The process that forks drivers and waits for them. Stop signals are blocked in it, and received by `wait`."""

    def __init__(self) -> None:
        hangup = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
        self._signals = {*(_STOPS - hangup), signal.SIGCHLD}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._first = self._count = self._driver = 0
        self._kill_at = float("inf")
        self._earlier = set(_children())  # of the shell that has become this process
        self._stack = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this process)
        prctl(_CHILD_SUBREAPER, 1)  # what a trial leaves running becomes this process's child

    def fork(self) -> bool:
        """Start a driver; return True in it."""
        self._report, self._forked = _Report(), time.monotonic()
        self._kills = out_of_memory_kills()
        self._stack.seek(0)
        self._stack.truncate()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._driver = os.fork()
        if self._driver:
            return False
        _driver[:] = [self._report]
        die_with(parent)
        if not faulthandler.is_enabled():
            trace_faults(os.dup(self._stack.fileno()))
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return True

    def wait(self) -> int | Crash:
        """Wait for the driver; return its exit code, or how it has crashed."""
        while True:
            received = signal.sigtimedwait(self._signals, _POLL_SECONDS)
            if received is not None and received.si_signo in _STOPS:
                self._pass_on(received)
            if time.monotonic() > self._kill_at:
                os.kill(self._driver, signal.SIGKILL)
            for process, status in _ended():
                if process == self._driver:
                    return self._end(os.waitstatus_to_exitcode(status))

    def leave(self) -> None:
        """End what the drivers have left running, say so, and receive signals as before."""
        _wait_for(self._left)
        if left := self._left():
            warn(f"ended what trials had left running: {', '.join(map(_described, sorted(left)))}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self._left():
                with contextlib.suppress(OSError):
                    os.kill(process, number)
            _wait_for(self._left)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _left(self) -> set[int]:
        return set(_children()) - self._earlier

    def _pass_on(self, received: signal.struct_siginfo) -> None:
        self._first = self._first or received.si_signo
        self._count += 1
        if self._count == 2:
            self._kill_at = time.monotonic() + _KILL_SECONDS
        # What came while the driver was forked did not reach it.
        if received.si_code != _SENT_BY_KERNEL or time.monotonic() - self._forked < _POLL_SECONDS:
            os.kill(self._driver, received.si_signo)

    def _end(self, status: int) -> int | Crash:
        reported = self._report.read()
        if reported is not None:
            return reported
        if self._first:
            return 128 + self._first
        if -status == signal.SIGKILL and sum(out_of_memory_kills()) > sum(self._kills):
            return Crash("memory", "the kernel ended its process: the host is out of memory")
        if -status in _FROM_OUTSIDE:
            warn(f"the sweep's process was ended by {signal.Signals(-status).name}")
            return 128 - status
        self._stack.seek(0)
        trace = self._stack.read().decode(errors="replace")
        return Crash("lost", f"its process ended {fault_in_words(trace) or _cause(status)}", trace)


def _cause(status: int) -> str:
    if status >= 0:
        return f"with exit code {status} and no error message: its code, or a library's, called exit"
    return f"by {signal.Signals(-status).name}"


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, task.read_text().split())


def _ended() -> Iterator[tuple[int, int]]:
    """Yield each child that has ended, with its status."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _wait_for(left: Callable[[], set[int]]) -> None:
    """Wait until no process is left, or the time is over."""
    until = time.monotonic() + _LEAVE_SECONDS
    while list(_ended()) or (left() and time.monotonic() < until):
        time.sleep(0.02)


def _described(process: int) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    return f"process {process} ({b' '.join(words).decode(errors='replace').strip()[:60]})"
