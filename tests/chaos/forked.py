"""``sweep …`` as a process of its own, forked from one that has imported torch and Lightning already.

Their import is some seven of a launch's nine seconds on a slow machine. What comes after is what the command does, from
reading its arguments to its exit code; it has its own session, environment and signals, and may be killed like any.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
context = multiprocessing.get_context("forkserver")
"""Starts processes in which torch and Lightning are imported."""
context.set_forkserver_preload(["lightning", "optuna", "pandas", "jsonargparse", "orchestrator.cli"])
_lock = threading.Lock()  # of what multiprocessing keeps of its children


class Forked:
    """The part of ``subprocess.Popen`` that its users need. ``output`` and ``errors`` are files to append to."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        output: str | Path = os.devnull,
        errors: str | Path = os.devnull,
    ) -> None:
        self.args = list(arguments)
        self._process = context.Process(target=_run, args=(self.args, dict(env), str(output), str(errors)))
        with _lock:
            start_server()
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        with _lock:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises TimeoutError."""
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.returncode) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.args} still runs after {timeout} s")
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def start_server() -> None:
    """At the first command: the test that it comes from is not to find the server among its own processes."""
    runs = os.environ.pop("SWEEP_RUNS", None)
    try:
        forkserver.ensure_running()
    finally:
        if runs is not None:
            os.environ["SWEEP_RUNS"] = runs


def _run(arguments: list[str], env: dict[str, str], output: str, errors: str) -> None:
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(env)
    for target, path in ((1, output), (2, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, target)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    sys.argv[1:] = arguments
    runpy.run_module("orchestrator", run_name="__main__", alter_sys=True)
