"""Start and end the trackers' processes (`orchestrator.tracking.uploader`), one per tracker."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from orchestrator import registry
from orchestrator.errors import UsageError
from orchestrator.journal import holder
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.uploader import END

PATIENCE_SECONDS = 8.0
"""How long the end of a sweep waits, for all trackers together."""
_KILL_SECONDS = 1.0
"""How long a killed process is waited for: at the lowest priority it ends late on a busy machine."""
_PACKAGES = Path(__file__).resolve().parents[2]


def check(spec: SweepSpec) -> None:
    """Raise UsageError if a tracker of the spec cannot be used, because its library is not installed."""
    for name, options in spec.tracking.enabled.items():
        tracker_class(name).check(options)


def tracker_class(name: str) -> type[Tracker]:
    """Return the class of a tracker, built in or of an installed package. Raises UsageError."""
    return cast(type[Tracker], registry.load("trackers", name))


class TrackerProcesses:
    """The processes of one sweep's trackers. Their failures do not affect the sweep."""

    def __init__(self, run: RunDirectory, spec: SweepSpec) -> None:
        self._run = run
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._deadline: float | None = None
        for name in _with_process(spec):
            with contextlib.suppress(OSError):
                self._started[name] = _start(name, run)

    def finish(self) -> None:
        """Report the sweep's end to the processes, which have `PATIENCE_SECONDS`. A second call does nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE_SECONDS
            for process in self._started.values():
                _report_end(process)

    def wait(self) -> list[str]:
        """Wait until the processes end or their time is over. Return a sentence for each incomplete upload."""
        self.finish()
        complete = _wait(self._started, self._deadline)
        self._started = {}
        command = shlex.join(["sweep", "sync", self._run.name, "--runs", str(self._run.runs)])
        sentences = [
            "" if done else tracker_class(name).not_uploaded(self._run, command) for name, done in complete.items()
        ]
        return [sentence for sentence in sentences if sentence]


@contextlib.contextmanager
def run_trackers(run: RunDirectory, spec: SweepSpec) -> Iterator[TrackerProcesses]:
    """Run the trackers' processes while the context is entered."""
    processes = TrackerProcesses(run, spec)
    try:
        yield processes
    finally:
        processes.wait()


def send(run: RunDirectory, spec: SweepSpec) -> list[str]:
    """Upload what was not uploaded, without a limit of time.

    Returns:
        A sentence for each tracker that did not receive everything.

    Raises:
        UsageError: The sweep is running, and uploads by itself.
    """
    if holder(run.journal):
        raise UsageError(
            f"{run.name!r} is running, and sends by itself", hint=f"wait, or stop it: sweep stop {run.name}"
        )
    if run.url and "wandb" in _with_process(spec) and not (run.root / "wandb").is_dir():
        raise UsageError(
            f"the unsent files are on the machine on which {run.name!r} was launched", hint="run sweep sync there"
        )
    started = {name: _start(name, run, "send") for name in _with_process(spec)}
    for process in started.values():
        _report_end(process)
    complete = _wait(started, deadline=None)
    return [
        f"{name} has not received everything; its log: {run.root / 'tracking'}"
        for name, done in complete.items()
        if not done
    ]


def _with_process(spec: SweepSpec) -> list[str]:
    return [name for name, options in spec.tracking.enabled.items() if tracker_class(name).is_enabled(options)]


def _start(name: str, run: RunDirectory, *more: str) -> subprocess.Popen[bytes]:
    """Start a tracker's process in a session of its own, so that Ctrl-C in a terminal does not reach it."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    # -P: a folder named wandb in the working directory would shadow the package.
    command = [sys.executable, "-P", "-m", "orchestrator.tracking", name, run.where, *more]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def _wait(processes: Mapping[str, subprocess.Popen[bytes]], deadline: float | None) -> dict[str, bool]:
    """Wait until ``deadline`` (monotonic clock), then kill. Return, by name, which have uploaded everything."""
    done = {}
    for name, process in processes.items():
        try:
            done[name] = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            done[name] = False
        finally:
            _kill(process)
    return done


def _report_end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.write(END)
        process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children, such as `wandb sync`, and wait `_KILL_SECONDS` at most for its end."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, daemon=True).start()  # so that it does not stay a zombie
