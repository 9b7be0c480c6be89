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
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.journal import holder
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.tracking.parts import unsent
from orchestrator.tracking.process import END

SERVED = ("wandb", "mlflow")
"""Trackers with a process of their own; each is a class in the file of its name."""
PATIENCE_SECONDS = 9.0
"""How long the end of a sweep waits for all of them together."""
_PACKAGES = Path(__file__).resolve().parents[2]


def check(spec: SweepSpec) -> None:
    """Raises UsageError where a tracker that was asked for is not installed. W&B is a dependency of ours."""
    if spec.tracking.mlflow and find_spec("mlflow") is None:
        raise UsageError("`tracking.mlflow` needs MLflow, which is not installed", hint="pip install mlflow-skinny")


@contextlib.contextmanager
def beside(run: RunDirectory, spec: SweepSpec) -> Iterator[list[str]]:
    """Let the trackers follow the sweep. Whatever becomes of them, the sweep does not learn of it.

    The list that it gives holds, afterwards, a line about each that has not got everything.
    """
    started, lines = {}, list[str]()
    for name in _served(spec):
        with contextlib.suppress(OSError):
            started[name] = _start(name, run)
    try:
        yield lines
    finally:
        complete = _end(started, patience=PATIENCE_SECONDS)
        lines += filter(None, [unsent(run) if name == "wandb" else _rest(run, done) for name, done in complete.items()])


def send(run: RunDirectory, spec: SweepSpec) -> list[str]:
    """Send what has not been sent, with no limit of time; a line about each tracker that did not get everything.

    Raises UsageError where the sweep runs: then it is being sent already.
    """
    if holder(run.journal):
        raise UsageError(f"{run.name!r} is running, and sends by itself", hint=f"wait, or: sweep stop {run.name}")
    started = {name: _start(name, run, "send") for name in _served(spec)}
    complete = _end(started, patience=None)
    return [
        f"{name} did not take everything; its log: {run.root / 'tracking'}"
        for name, done in complete.items()
        if not done
    ]


def _served(spec: SweepSpec) -> list[str]:
    wanted = spec.tracking.wanted
    return [name for name in SERVED if name in wanted and wanted[name].get("mode") != "disabled"]


def _rest(run: RunDirectory, done: bool) -> str:
    command = ["sweep", "sync", run.name, "--runs", str(run.root.parent)]
    return "" if done else f"MLflow has not got everything; to send the rest: {shlex.join(command)}"


def _start(name: str, run: RunDirectory, *more: str) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C in a terminal is for the sweep, and its group ends with it."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    # -P: a folder named wandb where the sweep was started is no package.
    command = [sys.executable, "-P", "-m", "orchestrator.tracking", name, str(run.root), *more]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def _end(processes: Mapping[str, subprocess.Popen[bytes]], patience: float | None) -> dict[str, bool]:
    """Tell them that the sweep is over, wait, and end those that are not done. Which of them were done with it all."""
    until = time.monotonic() + (patience or 0.0)
    for process in processes.values():
        _tell(process)
    done = {}
    for name, process in processes.items():
        try:
            done[name] = process.wait(max(0.0, until - time.monotonic()) if patience else None) == 0
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
