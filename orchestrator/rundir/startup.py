"""What a launch does until its first report: a small file in the run directory, beside the journal and no part of it.

The file is locked by the process that starts the sweep. A file without a lock is one that a killed launch has left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from orchestrator.rundir.run_directory import RunDirectory, read_unfollowed

STARTING = "starting.json"
_LIMIT = 8192
_MOST_PHASES = 20


@dataclass(frozen=True)
class Phase:
    """A part of a start.

    Attributes:
        name: what is done: ``starting Ray``.
        seconds: how long it took, or takes until now.
    """

    name: str
    seconds: float


def phases_text(phases: Sequence[Phase]) -> str:
    """Return phases as text: ``importing torch 4 s · starting Ray 3 s``."""
    return " · ".join(f"{phase.name} {phase.seconds:.0f} s" for phase in phases)


def starting(run: RunDirectory) -> list[Phase]:
    """Return the phases of a start that is going on now; empty if there is none, or if that cannot be known."""
    path = run.root / STARTING
    if run.url or not _is_locked(path):
        return []
    try:
        marks = [(str(name), float(at)) for name, at in json.loads(read_unfollowed(path, _LIMIT))[:_MOST_PHASES]]
    except (ValueError, TypeError, RecursionError):
        return []
    return _phases(marks)


def _phases(marks: Sequence[tuple[str, float]]) -> list[Phase]:
    ends = [*marks[1:], ("", time.time())]
    return [Phase(name, max(0.0, end - at)) for (name, at), (_, end) in zip(marks, ends, strict=True)] if marks else []


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class Startup:
    """The phases of the start that this process makes, for itself and, in a file, for others.

    The first phase announces it. No method raises: a start that cannot be announced is made all the same. Nothing is
    written into object storage.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._path = None if run.url else run.root / STARTING
        self._marks: list[tuple[str, float]] = []
        self._descriptor: int | None = None
        self._created: list[Path] = []  # folders, innermost first

    @property
    def phases(self) -> list[Phase]:
        """The phases so far; the last one goes on."""
        return _phases(self._marks)

    def _open(self, path: Path) -> None:
        folders = (path.parent, *path.parent.parents)
        self._created = list(takewhile(lambda folder: not folder.exists(), folders))
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process starts this run
            os.close(descriptor)
            self._created = []
            return
        self._descriptor = descriptor

    def phase(self, name: str) -> None:
        """Begin a phase, which ends the one before; nothing if that is the same."""
        if self._marks and self._marks[-1][0] == name:
            return
        if not self._marks and self._path is not None:
            with contextlib.suppress(OSError):
                self._open(self._path)
        self._marks.append((name, time.time()))
        if self._descriptor is not None:
            content = json.dumps(self._marks[-_MOST_PHASES:]).encode()
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, content, 0)
                os.ftruncate(self._descriptor, len(content))

    def finish(self) -> None:
        """End the start for good; `phases` is empty from now on."""
        self.close()
        self._marks = []

    def close(self) -> None:
        """End the start: remove the file, and the folders that were made for it and are still empty."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None or self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(descriptor)
        with contextlib.suppress(OSError):
            for folder in self._created:
                folder.rmdir()
