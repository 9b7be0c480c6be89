"""Ray in the driver: an instance of its own, started and removed without a trace, or a cluster that it joins."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from orchestrator import compat_ray
from orchestrator.engine.process_reaper import MARK, Reaper, members, program, reap
from orchestrator.engine.tune.ray_access import closed_to_others, log_ports
from orchestrator.errors import describe

_OBJECT_STORE_BYTES = 200_000_000
_GUARD_POLL_SECONDS = 0.5
_STUCK_SECONDS = 15.0
_CONNECT_SECONDS = 10.0


class RayDied(BaseException):
    """Ray itself has ended. No Exception: Tune would catch it and wait for the dead Ray to clean up."""


class NotJoined(RayDied):
    """No cluster answers at the address."""


def _vital_processes(folder: Path) -> dict[int, str]:
    """Return the vital processes of an instance: process id → program."""
    names = {process: program(process) for process in members(folder)}
    return {process: name for process, name in names.items() if name in compat_ray.VITAL_PROCESSES}


class _Guard:
    """Ends the driver if Ray has died and a call into Ray does not return.

    Ray's client waits 60 s for a dead GCS and then ends the process with a message of its own. The journal is complete
    by then, and ``sweep resume`` continues from it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray guard", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching: every call into Ray has returned."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        vital: dict[int, str] = {}
        died: float | None = None
        while not self._done.wait(_GUARD_POLL_SECONDS):
            if len(vital) < len(compat_ray.VITAL_PROCESSES):
                vital |= _vital_processes(self._folder)
            ended = next((name for process, name in vital.items() if not program(process)), "")
            died = (died or time.monotonic()) if ended else None
            if died and time.monotonic() - died > _STUCK_SECONDS:
                print(f"error: Ray's {ended} process ended, and Ray does not answer", file=sys.stderr)
                print("hint: nothing that finished is lost; resume with: sweep resume", file=sys.stderr, flush=True)
                os._exit(1)


class Instance:
    """A running Ray: the driver's own, with its temporary folder; or a cluster, with its head's address."""

    def __init__(self, folder: Path | None, head: str = "") -> None:
        self._folder, self.head = folder, head
        self._vital: dict[int, str] = {}
        if folder is not None and hasattr(os, "pidfd_open"):
            self._vital = {os.pidfd_open(process): name for process, name in _vital_processes(folder).items()}

    def check(self) -> None:
        """Raise RayDied if a vital process has ended."""
        ended = self.ended()
        if ended:
            raise RayDied(f"its {ended} process ended")

    def ended(self) -> str:
        """Return the vital process that has ended; empty if all run, or if the system cannot tell."""
        if not self._vital:
            return ""
        poll = select.poll()
        for descriptor in self._vital:
            poll.register(descriptor, select.POLLIN)
        return next((self._vital[descriptor] for descriptor, _ in poll.poll(0)), "")

    def close(self) -> None:
        """Shut Ray down; kill it if it cannot answer."""
        import ray

        if self._folder is not None and self.ended():
            reap(self._folder, grace=0)
        for descriptor in self._vital:
            os.close(descriptor)
        self._vital.clear()
        ray.shutdown()


@contextlib.contextmanager
def instance(cpus: int) -> Iterator[Instance]:
    """Run Ray with that many CPUs, for this process alone; a second process cleans up if the driver is killed.

    Raises:
        RayDied: Ray does not start.
    """
    _set_switches()
    compat_ray.claim_parent_process()
    # A short path: the names of Ray's sockets are limited.
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    reaper, guard = Reaper(folder), _Guard(folder)
    running = None
    try:
        with closed_to_others(folder):
            try:
                running = _start(folder, cpus)
                log_ports(folder)
                yield running
            finally:
                guard.end()
                (running or Instance(folder)).close()
    finally:
        reap(folder)
        reaper.end()


@contextlib.contextmanager
def join_cluster(address: str) -> Iterator[Instance]:
    """Join the cluster at an address as Ray writes it: ``auto``, ``host:port``.

    Its processes are neither watched nor ended with the sweep.

    Raises:
        NotJoined: No cluster answers there.
    """
    import ray

    _set_switches()
    _use_configured_token()
    try:
        _connect(address)
        with keep_signal_handlers():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                namespace=f"sweep-{uuid.uuid4().hex[:12]}",
                runtime_env={"env_vars": _worker_environment()},
            )
    except Exception as error:
        ray.shutdown()
        raise NotJoined(f"no cluster at {address}: {describe(error)}") from error
    try:
        yield Instance(None, ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def answers(head: str) -> bool:
    """Return whether a cluster's head accepts a connection."""
    try:
        _connect(head)
    except OSError:
        return False
    return True


def _connect(address: str) -> None:
    """Raise OSError at once if nothing listens there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _use_configured_token() -> None:
    """Use the token of the environment, or none: Ray would take one from the home directory, or write it there."""
    configured = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    os.environ.setdefault("RAY_AUTH_MODE", "token" if configured else "disabled")
    compat_ray.reload_settings()


def _set_switches() -> None:
    """Set Ray's switches and silence its logs."""
    for name, value in compat_ray.DRIVER_SWITCHES.items():
        os.environ.setdefault(name, value)
    # Tune logs a traceback for each process that dies; the journal and the trial's folder have it.
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _worker_environment() -> dict[str, str]:
    """Return the switches that workers on other hosts need, with the import path."""
    names = (*compat_ray.DRIVER_SWITCHES, "PYTHONPATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def _start(folder: Path, cpus: int) -> Instance:
    import ray

    try:
        with keep_signal_handlers(), _marked(folder):
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=_OBJECT_STORE_BYTES,
                **compat_ray.start_options(folder),
            )
    except Exception as error:
        raise RayDied(f"it did not start: {describe(error)}") from error
    return Instance(folder)


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    os.environ[MARK] = str(folder)
    try:
        yield
    finally:
        del os.environ[MARK]


@contextlib.contextmanager
def keep_signal_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which ``ray.init`` replaces by one that ends the process; block SIGHUP for Ray.

    A closed terminal sends SIGHUP to every process started in it. Ray's processes inherit that it is blocked, so that
    trials can end their epoch.
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
        raise RayDied("it received SIGTERM while it started")
