"""Let one process of a host at a time run ``prepare_data``.

Lightning calls it once a node, so a plain download in it (a temporary file, then a rename) is right under a Trainer. A
sweep runs several Trainers on a host. Each calls the hook, one after the other: the second finds what the first left.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.model_helpers import is_overridden

_POLL_SECONDS = 0.2
_IN_PROCESS = threading.Lock()  # a record lock keeps out other processes only


def _idle() -> None:
    return


def lock_prepare_data(owner: Any, on_wait: Callable[[], None] = _idle) -> None:
    """Make the module's or the data module's next ``prepare_data`` run under the lock of this host and user.

    Args:
        owner: a LightningModule or LightningDataModule; None is ignored.
        on_wait: called again and again while another process holds the lock.
    """
    if owner is not None and is_overridden("prepare_data", owner):
        # a partial, which Lightning looks into and which can be pickled for a spawned process
        owner.prepare_data = partial(_prepare, owner, vars(owner).get("prepare_data"), on_wait)


def _prepare(owner: Any, own: Callable[[], None] | None, on_wait: Callable[[], None]) -> None:
    del owner.prepare_data  # a copy of the module must not refer to this one
    if own is not None:
        owner.prepare_data = own
    with held(on_wait):
        owner.prepare_data()


@contextmanager
def held(on_wait: Callable[[], None] = _idle) -> Iterator[None]:
    """Hold the lock of this host and user. The system releases it if the process dies; a child does not inherit it."""
    file = _lock_file()
    if file is None:
        warnings.warn("prepare_data runs without a lock: no folder for it can be written", stacklevel=2)
        yield
        return
    while not _IN_PROCESS.acquire(timeout=_POLL_SECONDS):
        on_wait()
    try:
        with file.open("a") as opened:
            while not _acquired(opened.fileno()):
                on_wait()
                time.sleep(_POLL_SECONDS)
            yield  # closing the file releases the lock
    finally:
        _IN_PROCESS.release()


def _acquired(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by POSIX
        return False
    return True


def _lock_file() -> Path | None:
    """Return the lock's file in a folder of this user alone, on a local disk if there is one."""
    for folder in (Path(tempfile.gettempdir()) / f"sweep-orchestrator-{os.getuid()}", _cache_folder()):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
                return folder / "prepare_data.lock"
        except OSError:
            continue
    return None


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(cache) / "sweep-orchestrator"
