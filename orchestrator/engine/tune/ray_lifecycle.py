"""A Ray instance of our own: started quietly, watched while it runs, and gone without a trace afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.engine.process_reaper import MARK, Reaper, members, program, reap

# Read by Ray when it is imported or started, so set before either. Why each: see docs/decisions.md.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # a local instance must neither make nor ask for a token file
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a banner even when silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",  # a slow teardown must not fail the next, innocent segment
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read back
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_STATE_REFRESH_PERIOD": "1000000",  # it asks the GCS, and waits a minute for the answer of a dead one
}
_OBJECT_STORE_BYTES = 200_000_000
# Without either of them nothing runs, and Ray's driver notices so late or never.
_VITAL = ("raylet", "gcs_server")
_GUARD_POLL_SECONDS = 0.5
_STUCK_SECONDS = 15.0


class RayDied(BaseException):
    """Ray itself has ended under the driver. No Exception: Tune would first ask the dead for help with cleaning up."""


def _vital(folder: Path) -> dict[int, str]:
    """The vital processes of an instance that run, by number."""
    return {process: name for process in members(folder) if (name := program(process)) in _VITAL}


class _Guard:
    """Ends the driver when Ray has died and a call into Ray does not come back.

    Ray's client waits 60 s for a dead GCS and then ends the process in its own words. Nothing can be written by then:
    the journal says all that happened, and ``sweep resume`` goes on from there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray guard", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ray's calls have all come back."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        vital: dict[int, str] = {}
        died: float | None = None
        while not self._over.wait(_GUARD_POLL_SECONDS):
            if len(vital) < len(_VITAL):
                vital |= _vital(self._folder)
            ended = next((name for process, name in vital.items() if not program(process)), "")
            died = (died or time.monotonic()) if ended else None
            if died and time.monotonic() - died > _STUCK_SECONDS:
                print(f"error: Ray's {ended} process ended, and Ray does not answer", file=sys.stderr)
                print("hint: nothing that finished is lost; go on with: sweep resume", file=sys.stderr, flush=True)
                os._exit(1)


class Instance:
    """A running Ray: ours, known by its temporary folder; or a cluster, by its head's address, which we only watch."""

    def __init__(self, folder: Path | None, head: str = "") -> None:
        self._folder, self.head = folder, head
        self._vital: dict[int, str] = {}
        if folder is not None and hasattr(os, "pidfd_open"):
            self._vital = {os.pidfd_open(process): name for process, name in _vital(folder).items()}

    def check(self) -> None:
        """Raises RayDied where Ray cannot go on."""
        ended = self.ended()
        if ended:
            raise RayDied(f"its {ended} process ended")

    def ended(self) -> str:
        """Which vital process has ended; empty while all live, and where the system cannot tell."""
        if not self._vital:
            return ""
        poll = select.poll()
        for descriptor in self._vital:
            poll.register(descriptor, select.POLLIN)
        return next((self._vital[descriptor] for descriptor, _ in poll.poll(0)), "")

    def close(self) -> None:
        """Shut Ray down. It is not asked for a clean end where it cannot answer."""
        import ray

        if self._folder is not None and self.ended():
            reap(self._folder, grace=0)
        for descriptor in self._vital:
            os.close(descriptor)
        self._vital.clear()
        ray.shutdown()


@contextlib.contextmanager
def instance(cpus: int) -> Iterator[Instance]:
    """Ray with that many CPUs; while it lives, a process beside us waits to clean up should we be killed.

    Raises RayDied where it does not start.
    """
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    # Without it Ray takes a driver's parent for the raylet: under process 1 (nohup, setsid) it would end us by _Exit.
    os.environ.setdefault("RAY_RAYLET_PID", str(os.getpid()))
    # Tune logs a traceback for each process that dies; ours goes to the journal and to the trial's folder.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Short, for the names of Ray's sockets are limited.
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    reaper, guard = Reaper(folder), _Guard(folder)
    running = None
    try:
        running = _start(folder, cpus)
        yield running
    finally:
        guard.end()
        try:
            (running or Instance(folder)).close()
        finally:
            reap(folder)
            reaper.end()


def _start(folder: Path, cpus: int) -> Instance:
    import ray

    try:
        with our_signals(), _marked(folder):
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
            )
    except Exception as error:
        raise RayDied(f"it did not start: {type(error).__name__}: {error}") from error
    return Instance(folder)


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    os.environ[MARK] = str(folder)
    try:
        yield
    finally:
        del os.environ[MARK]


@contextlib.contextmanager
def our_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which ``ray.init`` replaces by one that ends the process; spare Ray the SIGHUP.

    A terminal that is closed sends SIGHUP to all that was started in it. What Ray starts inherits that it is blocked,
    so that trials may come to the end of their epoch.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    terminated = False
    try:
        yield
    except SystemExit:  # from Ray's handler
        terminated = True
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if terminated:
        signal.raise_signal(signal.SIGTERM)
        raise RayDied("it was told to end while it started")
