"""Write a folder that appears complete or not at all, and copy files into it with verification."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.durable_files import fingerprint, sync, sync_parents, write_durably
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.state import Checkpoint

_CHUNK = 1 << 20
_TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to ``folder`` once its content is synced to the disk.

    Temporary folders of killed processes are removed first. Raises UsageError if ``folder`` exists.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="remove it, or specify another folder: --to DIR")
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
    sync_parents(folder.parent)


def file_digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Return name → size and SHA-256 of every file, read back after it is synced to the disk."""
    files = sorted(folder.iterdir())
    for file in files:
        sync(file)  # the libraries that wrote it do not sync
    return {file.name: fingerprint(file) for file in files}


def copy_checkpoint(source: Path, target: Path, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's file. Raises CheckpointError unless the copy has the recorded size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb", buffering=0) as file, target.open("xb", buffering=0) as copy:
            while chunk := file.read(_CHUNK):
                copy.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            os.fsync(copy.fileno())
    except FileNotFoundError as error:
        raise CheckpointError(f"{source} is missing", hint="export another trial: --trial N") from error
    if (size, digest.hexdigest()) != (checkpoint.size, checkpoint.sha256):
        raise CheckpointError(f"{source} is not what was written", hint="export another trial: --trial N")
    if fingerprint(target) != (checkpoint.size, checkpoint.sha256):
        raise CheckpointError(f"{target} does not read back as it was written", hint="check the disk")


def copy_if_exists(source: Path, target: Path) -> None:
    """Copy a file durably, if it exists."""
    with suppress(FileNotFoundError):
        write_durably(target, source.read_bytes())


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary folders of killed processes."""
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _is_running(int(match["pid"])):
            with suppress(OSError):
                shutil.rmtree(path)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
