"""Durable files: what is said to be on the disk is on the disk, whole, under its own name."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from orchestrator.errors import CheckpointError, ObjectStoreError, causes

_CHUNK = 1 << 20
_settled: set[tuple[Path, int]] = set()  # folders by path and inode: one that was removed and made again is another
_STORAGE = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk fails to read or write",
    errno.ESTALE: "the file server has lost the file",
    errno.ETIMEDOUT: "the file server does not answer",
}


def storage_fault(error: BaseException | None, folder: Path | None = None) -> str:
    """What is wrong with the storage, if that is what the error (or what caused it) says; else empty.

    A permission that is refused is the storage's fault below ``folder``, the run's own, and nowhere else.
    """
    for link in causes(error):
        if isinstance(link, ObjectStoreError):
            return link.strerror or "the object store fails"
        if isinstance(link, OSError) and link.errno in _STORAGE:
            return _STORAGE[link.errno]
        if isinstance(link, PermissionError) and folder and Path(str(link.filename)).is_relative_to(folder):
            return f"permission denied: {link.filename}"
    return ""


def write_durably(path: Path, content: bytes | memoryview) -> tuple[int, str]:
    """Put ``content`` under ``path`` atomically; returns size in bytes and SHA-256 of what was read back from it.

    The bytes go to a temporary name in the same directory and are fsync'd; the name is changed, the directory fsync'd,
    and the file read again and compared. What was there before under ``path`` stays until the new file is whole.

    Raises CheckpointError where the file does not read back as written; OSError where it cannot be written.
    """
    content = memoryview(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
    settle(path.parent)
    return _read_back(path, content)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte. Raises OSError where the disk takes no more."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(path: Path) -> None:
    """Make durable what a file holds, or the names in a folder: a new or renamed file is so only once its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(folder: Path) -> None:
    """Make a folder itself durable: its name in the folder above, and so on upwards, once for each in this process.

    What lies in a folder that was just made is durable only with it, whatever was fsync'd inside. It ends where the
    file system begins, or where the folder above is not ours to read and so was there before us. Raises OSError.
    """
    path = folder.absolute()
    while (known := (path, path.stat().st_ino)) not in _settled and not path.is_mount():
        try:
            sync(path.parent)
        except PermissionError:
            return
        _settled.add(known)
        path = path.parent


def fingerprint(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, in one reading."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def check_file(path: Path, size: int, sha256: str) -> None:
    """Compare a file with what was written: size first, then SHA-256. Raises CheckpointError where it differs."""
    hint = "an earlier checkpoint of the trial, or a fresh start, is what remains"
    if not path.is_file():
        raise CheckpointError(f"{path} is gone", hint=hint)
    found = path.stat().st_size
    if found != size:
        raise CheckpointError(f"{path} has {found} bytes, but {size} were written", hint=hint)
    digest = fingerprint(path)[1]
    if digest != sha256:
        raise CheckpointError(f"{path} has SHA-256 {digest}, but {sha256} was written", hint=hint)


def _read_back(path: Path, content: memoryview) -> tuple[int, str]:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start in range(0, content.nbytes + 1, _CHUNK):
            chunk = file.read(_CHUNK)
            if chunk != content[start : start + _CHUNK]:
                raise CheckpointError(f"{path} does not read back as it was written", hint="check the disk")
            digest.update(chunk)
    return content.nbytes, digest.hexdigest()
