"""The process of one tracker: follow the journal, and have the tracker write and upload what is new.

It runs at the lowest priority, and ends with the driver that started it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
import traceback
from pathlib import Path

from orchestrator import registry
from orchestrator.rundir import RunDirectory, run_of
from orchestrator.secrets import write_masked
from orchestrator.state import FollowedSweep, SweepState
from orchestrator.tracking.tracker import Tracker

END = b"end\n"
"""The driver writes this to the pipe when the sweep has ended. If the pipe closes without it, the driver died."""
_POLL_SECONDS = 1.0
_PAUSE_FACTOR = 20.0
"""Each pause is at least this many times the last round's duration: a tracker uses at most 1/20 of a core."""
_LOG_BYTES = 100_000
_NICENESS = 19
"""The lowest priority; Ray's own workers run at 15."""


def main(name: str, root: str, *, send: bool) -> int:
    """Follow the sweep until its driver reports its end, or dies. Return 0 if everything was uploaded, else 1."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _lower_priority()
    run, ended = run_of(root), threading.Event()
    threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    log = _Log(run.root / "tracking" / f"{name}.log")
    with log:
        tracker: Tracker = registry.load("trackers", name)(run, send=send)
        _follow(tracker, run, ended, log)
        return 0 if tracker.settle() else 1
    return 1


def _lower_priority() -> None:
    """Lower this process's priority, and that of its session: Linux may schedule by session."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{_NICENESS}\n")


def _follow(tracker: Tracker, run: RunDirectory, ended: threading.Event, log: _Log) -> None:
    pause, sweep = _POLL_SECONDS, FollowedSweep(run.journal, mask=True)
    while not ended.wait(pause):
        began = time.monotonic()
        with log:
            tracker.follow(_read(sweep), ended=False)
        pause = max(_POLL_SECONDS, _PAUSE_FACTOR * (time.monotonic() - began))
    tracker.follow(_read(sweep), ended=True)


def _read(sweep: FollowedSweep) -> SweepState:
    sweep.refresh()
    return sweep.state


def _listen(ended: threading.Event) -> None:
    """Wait until the driver reports the end. If it dies before that, kill this process and its children."""
    driver = os.getppid()
    # Checked, too, because a process forked by the driver may hold the pipe open after the driver's death.
    while os.getppid() == driver and not select.select([0], [], [], _POLL_SECONDS)[0]:
        pass
    if os.getppid() == driver and os.read(0, len(END)) == END:
        ended.set()
        return
    os.killpg(0, signal.SIGKILL)


class _Log(contextlib.AbstractContextManager["_Log"]):
    """Writes exceptions raised inside it to a file, and suppresses them."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return error is None
        with contextlib.suppress(OSError):
            if not self._file.exists() or self._file.stat().st_size < _LOG_BYTES:
                write_masked(self._file, "".join(traceback.format_exception(error)), append=True)
        return True
