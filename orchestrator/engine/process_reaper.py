"""Kill every process of one Ray instance and delete its temporary folder once the driver is dead.

A killed driver cannot clean up, and Ray's processes notice its end one by one, some only after two minutes. The reaper
runs this file as a script with the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Set in the environment of an instance, and inherited by its processes: workers, their DataLoader workers, the programs
# that a trial runs.
MARK = "SWEEP_RAY_FOLDER"
# Ray's workers set a process title with this start, which overwrites their environment in /proc.
WORKER_TITLE = b"ray::"
GRACE_SECONDS = 1.0  # for Ray's own clean-up
_LIMIT_SECONDS = 8.0
_POLL_SECONDS = 0.1
_DRIVER_POLL_SECONDS = 0.5


class Reaper:
    """A process that outlives the driver by some seconds, and waits for the driver's end of a pipe to close.

    It has its own session, so that Ctrl-C in a terminal does not reach it, and ignores SIGINT, SIGTERM and SIGHUP.
    """

    def __init__(self, folder: Path) -> None:
        read_end, self._write = os.pipe()  # inherited by a child process only as its stdin
        command = [sys.executable, "-I", "-S", __file__, str(folder)]
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(read_end)

    def end(self) -> None:
        """Let the reaper clean up, and wait for it."""
        os.close(self._write)
        try:
            self._process.wait(GRACE_SECONDS + _LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def reap(folder: Path, grace: float = GRACE_SECONDS) -> None:
    """Kill the instance's remaining processes after ``grace`` seconds, then delete its folder."""
    began = time.monotonic()
    while (remaining := list(members(folder))) and time.monotonic() - began < grace + _LIMIT_SECONDS:
        if time.monotonic() - began >= grace:
            for process in remaining:
                _kill(process)
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def members(folder: Path) -> Iterator[int]:
    """Yield the instance's process ids; none if the system has no /proc."""
    for entry in Path("/proc").glob("[0-9]*"):
        process = int(entry.name)
        if process != os.getpid() and _belongs(entry, folder):
            yield process


def program(process: int) -> str:
    """Return the name of the program that a process runs; empty if the process is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().partition(b"\0")[0].rpartition(b"/")[2].decode()
    except OSError:
        return ""


def _belongs(entry: Path, folder: Path) -> bool:
    """Return whether a process has the instance's mark or, if Ray's title overwrote the mark, its files open."""
    try:
        if entry.stat().st_uid != os.getuid():
            return False
        if f"{MARK}={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
            return True
        titled = (entry / "cmdline").read_bytes().startswith(WORKER_TITLE)
        numbers = os.listdir(entry / "fd") if titled else ("1", "2")  # noqa: PTH208
        return any(_opened(entry / "fd" / number).startswith(f"{folder}/") for number in numbers)
    except OSError:
        return False


def _opened(descriptor: Path) -> str:
    """Return the path of a descriptor's file; empty if it was closed meanwhile."""
    try:
        return os.readlink(descriptor)  # noqa: PTH115
    except OSError:
        return ""


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _watch(folder: Path) -> None:
    """Wait for the driver's end, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    driver = os.getppid()
    # A process that the driver forked may keep the pipe open after the driver's end.
    while os.getppid() == driver and not select.select([0], [], [], _DRIVER_POLL_SECONDS)[0]:
        pass
    reap(folder)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
