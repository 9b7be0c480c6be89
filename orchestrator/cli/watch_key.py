"""A key that opens `sweep watch` over the table of a running `sweep launch`: Enter.

The terminal stays in the mode that it has, in which Enter alone passes a line on. So nothing has to be restored however
this process ends, and Ctrl-C, Ctrl-Z and job control are those of any command.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.cli.supervisor import interpreter_flags

if TYPE_CHECKING:
    from orchestrator.results.launch_progress import Progress
    from orchestrator.rundir import RunDirectory

OPENED_BY = "SWEEP_WATCH_OPENED_BY"
"""Holds the process whose table `sweep watch` covers: it ends with that process, and with the sweep."""
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_POLL_SECONDS = 0.5
_LEAVE_SECONDS = 3.0  # for the watch to end by itself, once the sweep has ended
_UP = "\x1b[1A"
_LEAVE_SCREEN = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?1004l"


class WatchKey:
    """While entered, Enter opens `sweep watch`, if this process has a terminal for itself.

    Args:
        run: the run to watch.
        progress: its display, which is hidden meanwhile.
        own: whether no other code of this process reads the terminal, as a trial may that trains in it.
    """

    def __init__(self, run: RunDirectory, progress: Progress, *, own: bool = True) -> None:
        self._run, self._progress, self._own = run, progress, own
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> WatchKey:
        if self._own and _has_screen():
            self._progress.hint = "Enter opens sweep watch"
            self._thread = threading.Thread(target=self._listen, name="keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._progress.hint = ""
        if self._thread is not None:
            self._thread.join()

    def _listen(self) -> None:
        # A process in the background that reads the terminal, or sets it, would be stopped.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
        with contextlib.suppress(OSError):  # the terminal is gone
            while not self._ended.is_set():
                if not select.select([_STDIN], [], [], _POLL_SECONDS)[0]:
                    continue
                if not _in_foreground():
                    self._ended.wait(_POLL_SECONDS)
                elif not (typed := os.read(_STDIN, 1024)):
                    return
                elif not typed.strip():
                    self._watch()

    def _watch(self) -> None:
        """Show the sweep on the full screen until the user quits, or the sweep ends."""
        _write(_UP)  # Enter has moved the cursor below the table's last line
        with self._progress.hidden(), _mode_kept():
            watch = subprocess.Popen(
                [sys.executable, *interpreter_flags(), "-m", "orchestrator", "watch", self._run.where],
                env={**os.environ, OPENED_BY: str(os.getpid())},
            )
            while watch.poll() is None and not self._ended.is_set():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    watch.wait(_POLL_SECONDS)
            try:
                watch.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                watch.kill()
                watch.wait()
            if watch.returncode:
                _write(_LEAVE_SCREEN)


def _has_screen() -> bool:
    """Return whether this process has a terminal for a full screen, and is in its foreground."""
    from orchestrator.watch.snapshot import why_no_screen

    terminal = all(map(os.isatty, (_STDIN, _STDOUT, _STDERR)))
    return why_no_screen(os.environ, terminal=terminal) is None and _in_foreground()


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(_STDIN) == os.getpgrp()
    except OSError:
        return False


@contextlib.contextmanager
def _mode_kept() -> Iterator[None]:
    """Restore the terminal's mode, which a full screen that is killed leaves as it was."""
    import termios

    mode = termios.tcgetattr(_STDIN)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, mode)


def _write(codes: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_STDERR, codes.encode())
