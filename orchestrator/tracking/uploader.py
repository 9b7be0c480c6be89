"""The process of one tracker: it reads the journal now and then, and lets the tracker write and send what is new.

It gives way to whatever else wants the processor, and ends when the driver that started it does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Protocol

from orchestrator.rundir import RunDirectory, run_of
from orchestrator.secrets import write_masked
from orchestrator.state import FollowedSweep, SweepState

END = b"end\n"
"""What the driver writes when the sweep is over; a pipe that closes without it means that the driver is gone."""
_POLL_SECONDS = 1.0
_SHARE = 20.0
"""It waits so many times as long as the last round took: one twentieth of a core at most."""
_LOG_BYTES = 100_000
_NICENESS = 19
"""The least there is: Ray's own workers run at 15."""


class Tracker(Protocol):
    """What a tracker's file has, as the class ``Tracker``, made from a run directory."""

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        """``send``: the user has asked that what waits be sent, whatever the sweep file says."""

    def follow(self, state: SweepState, *, over: bool) -> None:
        """Write what is new, and send it if that can be done without waiting. ``over``: the sweep has ended."""

    def settle(self) -> bool:
        """Send what is left, however long it takes. True where nothing is."""


def main(name: str, root: str, *, send: bool) -> int:
    """Follow the sweep until its driver says that it is over, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _give_way()
    run, over = run_of(root), threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    told = _Log(run.root / "tracking" / f"{name}.log")
    with told:
        tracker: Tracker = import_module(f"orchestrator.tracking.{name}").Tracker(run, send=send)
        _follow(tracker, run, over, told)
        return 0 if tracker.settle() else 1
    return 1


def _give_way() -> None:
    """To all others. Where Linux schedules by session, niceness counts within one, and the session has its own."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}\n")


def _follow(tracker: Tracker, run: RunDirectory, over: threading.Event, told: _Log) -> None:
    pause, sweep = _POLL_SECONDS, FollowedSweep(run.journal, mask=True)
    while not over.wait(pause):
        began = time.monotonic()
        with told:
            tracker.follow(_read(sweep), over=False)
        pause = max(_POLL_SECONDS, _SHARE * (time.monotonic() - began))
    tracker.follow(_read(sweep), over=True)


def _read(sweep: FollowedSweep) -> SweepState:
    sweep.refresh()
    return sweep.state


def _listen(over: threading.Event) -> None:
    """Wait for the driver's word. Where it goes without one, end at once, with all that was started here."""
    driver = os.getppid()
    # A process that the driver has forked may hold the pipe open for longer than the driver lives.
    while os.getppid() == driver and not select.select([0], [], [], _POLL_SECONDS)[0]:
        pass
    if os.getppid() == driver and os.read(0, len(END)) == END:
        over.set()
        return
    os.killpg(0, signal.SIGKILL)


class _Log(contextlib.AbstractContextManager["_Log"]):
    """What goes wrong here is written to a file, without keys and passwords, and goes no further."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return error is None
        with contextlib.suppress(OSError):
            if not self._file.exists() or self._file.stat().st_size < _LOG_BYTES:
                write_masked(self._file, "".join(traceback.format_exception(error)), append=True)
        return True
