"""Write files so that they survive a crash: complete, synced, and under their own name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import resource
import stat
import uuid
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import CheckpointError, ObjectStoreError, causes, is_a

GROUP_FOLDER = 0o2770
"""The mode of a folder that its owner shares with its group."""

_CHUNK = 1 << 20
_synced: set[tuple[Path, int]] = set()  # folders by path and inode, which differs once a folder is created again
_STORAGE = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk fails to read or write",
    errno.ESTALE: "the file server has lost the file",
    errno.ETIMEDOUT: "the file server does not answer",
}


def storage_fault(error: BaseException | None, folder: Path | None = None) -> str:
    """Return what is wrong with the storage, if the error or one of its causes is a fault of the storage; else empty.

    A refused permission counts as a fault of the storage only below ``folder``, the run's own.
    """
    for link in causes(error):
        if not is_a(link, OSError):
            continue
        if isinstance(link, ObjectStoreError):
            return link.strerror or "the object store fails"
        if isinstance(link, OSError) and link.errno in _STORAGE:
            return _STORAGE[link.errno]
        if isinstance(link, PermissionError) and folder and Path(str(link.filename)).is_relative_to(folder):
            return f"permission denied: {link.filename}"
    return ""


def write_durably(
    path: Path, content: bytes | memoryview, *, before_rename: Callable[[], None] | None = None
) -> tuple[int, str]:
    """Write ``content`` to ``path`` atomically and verify it.

    The file is readable by its owner only, and in a shared folder readable and writable by the group.
    The bytes go to a temporary file in the same directory, which is fsync'd and renamed; then the directory is fsync'd
    and the file read back and compared. A previous file at ``path`` stays until the new one is complete; it stays, too,
    if ``before_rename`` raises.

    Returns:
        The size in bytes, and the SHA-256 of what was read back.

    Raises:
        CheckpointError: The file does not read back as written.
        OSError: It cannot be written.
    """
    content = memoryview(content)
    make_folder(path.parent)
    temporary = temporary_name(path)
    try:
        _write(temporary, content, synced=True)
        if before_rename:
            before_rename()
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
    sync_parents(path.parent)
    return _read_back(path, content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old content or the new one. A crash of the machine may lose both.

    For what one process writes often and nobody needs after a crash: nothing waits for the disk. The folder must exist.

    Raises:
        OSError: It cannot be written.
    """
    temporary = part_of(path)
    try:
        _write(temporary, memoryview(content), synced=False)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def part_of(path: Path) -> Path:
    """Return the one name under which `replace_file` begins a file, so that a crash leaves at most one part of it."""
    return path.with_name(f".{path.name}.tmp")


def _write(path: Path, content: memoryview, *, synced: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if is_shared_folder(path.parent):
            os.fchmod(descriptor, 0o660)
        write_all(descriptor, content)
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return a new name beside ``path``. Processes of two containers may have the same number, so that is not in it."""
    return path.with_name(f".{path.name}.{uuid.uuid4().int}.tmp")


def is_shared_folder(folder: Path) -> bool:
    """Return whether its owner shares the folder with its group: setgid, and writable by the group."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o2070 == 0o2070


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create a folder and its parents unless they exist; below a shared folder they are shared, too.

    Args:
        folder: to create.
        mode: of the folder elsewhere, before the umask; its parents have the usual one.

    Raises:
        OSError: It cannot be created, or is no folder.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(mode=mode, exist_ok=True)
    if is_shared_folder(folder.parent):
        with contextlib.suppress(PermissionError):  # another process of the group has created it
            folder.chmod(GROUP_FOLDER)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte. Raises OSError if the disk is full."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def out_of_reach(descriptor: int, first: int) -> int:
    """Return the same open file under a number from ``first`` on, and close the given descriptor.

    A trial's code may close descriptors that are not its own. The next file gets the lowest free number, so a number
    this high stays closed: writing to it fails, and reaches no other file. Callers use different values of ``first``.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptor >= first or 0 <= limit <= 2 * first:
        return descriptor
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, first)
    except OSError:  # no number is free
        return descriptor
    os.close(descriptor)
    return high


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, durable; a new or renamed file needs its folder synced, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fresh_status(path: Path) -> os.stat_result:
    """Return a file's status now. The file is opened: on NFS only an open asks the server, a lookup may use a cache.

    Does not wait, since a pipe may have been put there. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def sync_parents(folder: Path) -> None:
    """Make a folder's own name durable in its parent, and so on upwards, once per folder and process.

    The files of a new folder are durable only once its name is, whatever was fsync'd inside. Stops at a mount point,
    or at a parent that may not be read and so existed before. Raises OSError.
    """
    path = folder.absolute()
    while (identity := (path, path.stat().st_ino)) not in _synced and not path.is_mount():
        try:
            sync(path.parent)
        except PermissionError:
            return
        _synced.add(identity)
        path = path.parent


def fingerprint(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its SHA-256, read once."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def check_file(path: Path, size: int, sha256: str) -> None:
    """Compare a file with what was written: size first, then SHA-256. Raises CheckpointError if they differ."""
    hint = "use an earlier checkpoint of the trial, or start it again"
    if not path.is_file():
        raise CheckpointError(f"{path} is gone", hint=hint)
    current = path.stat().st_size
    if current != size:
        raise CheckpointError(f"{path} has {current} bytes, but {size} were written", hint=hint)
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
