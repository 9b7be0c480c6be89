"""The driver's side: one process a tracker, started with the sweep and ended with it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.extras import require
from orchestrator.journal import holder
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.tracking.uploader import END
from orchestrator.tracking.wandb_offline_runs import unsent

SERVED = ("wandb", "mlflow")
"""Trackers with a process of their own; each is a class in the file of its name."""
PATIENCE_SECONDS = 9.0
"""How long the end of a sweep waits for all of them together."""
_PACKAGES = Path(__file__).resolve().parents[2]


def check(spec: SweepSpec) -> None:
    """Raises UsageError where a tracker that was asked for is not installed. W&B is a dependency of ours."""
    if spec.tracking.mlflow:
        require("mlflow", purpose="`tracking.mlflow`")


class Companions:
    """The processes of one sweep's trackers. Whatever becomes of them, the sweep does not learn of it."""

    def __init__(self, run: RunDirectory, spec: SweepSpec) -> None:
        self._run = run
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._until: float | None = None
        for name in _served(spec):
            with contextlib.suppress(OSError):
                self._started[name] = _start(name, run)

    def over(self) -> None:
        """The sweep is over: from now on they have `PATIENCE_SECONDS`. A second call changes nothing."""
        if self._until is None:
            self._until = time.monotonic() + PATIENCE_SECONDS
            for process in self._started.values():
                _tell(process)

    def wait(self) -> list[str]:
        """Until they are done or their time is up; a line about each that has not got everything."""
        self.over()
        complete = _end(self._started, self._until)
        self._started = {}
        found = [unsent(self._run) if name == "wandb" else _rest(self._run, done) for name, done in complete.items()]
        return [line for line in found if line]


@contextlib.contextmanager
def beside(run: RunDirectory, spec: SweepSpec) -> Iterator[Companions]:
    """Let the trackers follow the sweep; none of them is there any more afterwards."""
    companions = Companions(run, spec)
    try:
        yield companions
    finally:
        companions.wait()


def send(run: RunDirectory, spec: SweepSpec) -> list[str]:
    """Send what has not been sent, with no limit of time; a line about each tracker that did not get everything.

    Raises UsageError where the sweep runs: then it is being sent already.
    """
    if holder(run.journal):
        raise UsageError(f"{run.name!r} is running, and sends by itself", hint=f"wait, or: sweep stop {run.name}")
    if run.url and "wandb" in _served(spec) and not (run.root / "wandb").is_dir():
        raise UsageError(
            f"what waits to be sent lies on the machine that {run.name!r} was driven from", hint="send it there"
        )
    started = {name: _start(name, run, "send") for name in _served(spec)}
    for process in started.values():
        _tell(process)
    complete = _end(started, until=None)
    return [
        f"{name} did not take everything; its log: {run.root / 'tracking'}"
        for name, done in complete.items()
        if not done
    ]


def _served(spec: SweepSpec) -> list[str]:
    wanted = spec.tracking.wanted
    return [name for name in SERVED if name in wanted and wanted[name].get("mode") != "disabled"]


def _rest(run: RunDirectory, done: bool) -> str:
    command = ["sweep", "sync", run.name, "--runs", str(run.runs)]
    return "" if done else f"MLflow has not got everything; to send the rest: {shlex.join(command)}"


def _start(name: str, run: RunDirectory, *more: str) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C in a terminal is for the sweep, and its group ends with it."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    # -P: a folder named wandb where the sweep was started is no package.
    command = [sys.executable, "-P", "-m", "orchestrator.tracking", name, run.where, *more]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def _end(processes: Mapping[str, subprocess.Popen[bytes]], until: float | None) -> dict[str, bool]:
    """Wait up to that time of the monotonic clock, and end those that are not done. Which were done with it all."""
    done = {}
    for name, process in processes.items():
        try:
            done[name] = process.wait(None if until is None else max(0.0, until - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            done[name] = False
        finally:
            _kill(process)
    return done


def _tell(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.write(END)
        process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process and what it has started: `wandb sync` among it."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
