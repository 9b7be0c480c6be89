"""A folder that is there whole or not at all, and files copied into it that are what they were."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.durable_files import fingerprint, settle, sync, write_durably
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.state import Checkpoint

_CHUNK = 1 << 20
_LEFT_OVER = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")


@contextmanager
def write_as_one(folder: Path) -> Iterator[Path]:
    """A folder under another name beside, to be filled; it gets its own name when all that is in it is on the disk.

    What killed processes left beside is removed first. Raises UsageError where ``folder`` exists.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="remove it, or choose another: --to DIR")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_leftovers(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(mode=0o700)
        yield temporary
        sync(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(folder.parent)
    settle(folder.parent)


def written(folder: Path) -> dict[str, tuple[int, str]]:
    """Name → size and SHA-256 of every file, each read back after it is on the disk."""
    files = sorted(folder.iterdir())
    for file in files:
        sync(file)  # a library wrote it, and libraries do not
    return {file.name: fingerprint(file) for file in files}


def copy(source: Path, target: Path, kept: Checkpoint) -> None:
    """Raises CheckpointError where what is copied is not what was written."""
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb", buffering=0) as file, target.open("xb", buffering=0) as copied:
            while chunk := file.read(_CHUNK):
                copied.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            os.fsync(copied.fileno())
    except FileNotFoundError as error:
        raise CheckpointError(f"{source} is gone", hint="export another trial: --trial N") from error
    if (size, digest.hexdigest()) != (kept.size, kept.sha256):
        raise CheckpointError(f"{source} is not what was written", hint="export another trial: --trial N")
    if fingerprint(target) != (kept.size, kept.sha256):
        raise CheckpointError(f"{target} does not read back as it was written", hint="check the disk")


def copy_if_there(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        write_durably(target, source.read_bytes())


def _remove_leftovers(folder: Path) -> None:
    """What exports that were killed have left."""
    for path in folder.glob(".*.tmp"):
        found = _LEFT_OVER.fullmatch(path.name)
        if found and not _lives(int(found["pid"])):
            with suppress(OSError):
                shutil.rmtree(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
