"""Ends what a dead driver would leave behind: every process of one Ray instance, and its temporary folder.

Also run as a script of its own, with the standard library alone, so that it is there at once. A driver that is killed
cannot clean up; Ray's processes notice its end one after another, some of them after two minutes.
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

# An instance is started with this variable in its environment. Whatever it starts inherits it: workers, their
# DataLoader workers, the programs that a trial runs.
MARK = "SWEEP_RAY_FOLDER"
GRACE_SECONDS = 1.0  # for Ray's own cleaning
_LIMIT_SECONDS = 8.0
_POLL_SECONDS = 0.1
_DRIVER_POLL_SECONDS = 0.5


class Reaper:
    """A process that outlives the driver by some seconds. It holds one end of a pipe whose other end only we have.

    It has a session of its own, so Ctrl-C in a terminal does not reach it, and it ignores the polite signals.
    """

    def __init__(self, folder: Path) -> None:
        ours, self._write = os.pipe()  # neither is inherited by a program that we start, but as its stdin
        command = [sys.executable, "-I", "-S", __file__, str(folder)]
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=ours,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(ours)

    def end(self) -> None:
        """Let it look once more, and wait for it."""
        os.close(self._write)
        try:
            self._process.wait(GRACE_SECONDS + _LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def reap(folder: Path, grace: float = GRACE_SECONDS) -> None:
    """Kill what is left of the instance after ``grace`` seconds, until nothing is, and remove its folder."""
    began = time.monotonic()
    while (left := list(members(folder))) and time.monotonic() - began < grace + _LIMIT_SECONDS:
        if time.monotonic() - began >= grace:
            for process in left:
                _kill(process)
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def members(folder: Path) -> Iterator[int]:
    """The processes of the instance, by number. Nothing where there is no /proc to look into."""
    for entry in Path("/proc").glob("[0-9]*"):
        process = int(entry.name)
        if process != os.getpid() and _belongs(entry, folder):
            yield process


def program(process: int) -> str:
    """The name of the program that a process runs; empty where it has gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().partition(b"\0")[0].rpartition(b"/")[2].decode()
    except OSError:
        return ""


def _belongs(entry: Path, folder: Path) -> bool:
    """By its environment, or where a process title of Ray's was written over that, by the files that it has open."""
    try:
        if entry.stat().st_uid != os.getuid():
            return False
        if f"{MARK}={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
            return True
        titled = (entry / "cmdline").read_bytes().startswith(b"ray::")
        numbers = os.listdir(entry / "fd") if titled else ("1", "2")  # noqa: PTH208
        return any(_opened(entry / "fd" / number).startswith(f"{folder}/") for number in numbers)
    except OSError:
        return False


def _opened(descriptor: Path) -> str:
    """The file behind a descriptor; empty where it was closed meanwhile."""
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
    """Wait for the driver's end, and clean up behind it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    driver = os.getppid()
    # A process that the driver has forked may hold the pipe open for longer than the driver lives.
    while os.getppid() == driver and not select.select([0], [], [], _DRIVER_POLL_SECONDS)[0]:
        pass
    reap(folder)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
