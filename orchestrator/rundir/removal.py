"""Remove a file of a run directory without following a link: neither the file's own nor one on the way to it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.errors import UsageError

_FOLDER = re.compile(r"trials/\d{4,}/checkpoints")
_NAME = r"\w+=\d+(?:-batch=\d+)?-segment=\d+\.ckpt"
_FILE, _TEMPORARY = re.compile(_NAME), re.compile(rf"\.{_NAME}\.\d+\.tmp")


def is_checkpoint(relative: str) -> bool:
    """Return whether a path of the run directory is named as a trial's checkpoint."""
    folder, _, name = relative.rpartition("/")
    return bool(_FOLDER.fullmatch(folder) and _FILE.fullmatch(name))


def is_checkpoint_or_part(relative: str) -> bool:
    """Return whether it is named as a trial's checkpoint, or as the temporary file of one that is being written."""
    folder, _, name = relative.rpartition("/")
    return bool(_FOLDER.fullmatch(folder) and (_FILE.fullmatch(name) or _TEMPORARY.fullmatch(name)))


def linked_folder(root: Path, relative: str) -> Path | None:
    """Return where a trial's folder of checkpoints leads to, if it is a link; None if it is none.

    Only the last folder may be a link: one above it is not followed.
    """
    folder = root / PurePosixPath(relative).parent
    if not is_checkpoint_or_part(relative) or not folder.is_symlink():
        return None
    if not Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(root)):
        return None
    return Path(os.path.realpath(folder))


def is_shared(root: Path, folder: Path) -> bool:
    """Return whether the folder that a link leads to is in a run, or another trial's too: its files may be theirs."""
    if any((parent / "journal.jsonl").exists() for parent in (folder, *folder.parents)):
        return True
    return sum(os.path.realpath(other) == str(folder) for other in root.glob("trials/*/checkpoints")) > 1


def remove_unfollowed(root: Path, relative: str) -> None:
    """Remove a file, or a link in its place, if it exists. A trial's folder of checkpoints may itself be a link.

    Raises:
        UsageError: The path is absolute or leads upwards.
        OSError: A folder on the way is a link, or the file cannot be removed.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"the journal names {relative!r}, which is outside {root}")
    target = linked_folder(root, relative)
    if target and is_shared(root, target):
        raise PermissionError(f"{root / path.parent} is a link to files of another trial or run")
    with contextlib.suppress(FileNotFoundError), _opened(root, path.parent, may_link=target is not None) as folder:
        os.unlink(path.name, dir_fd=folder)


@contextlib.contextmanager
def _opened(root: Path, folder: PurePosixPath, *, may_link: bool) -> Iterator[int]:
    """Open a folder below ``root`` one name at a time, so that no link is followed, whatever changes meanwhile."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)
    try:
        for index, name in enumerate(folder.parts, 1):
            follow = may_link and index == len(folder.parts)
            inner = os.open(name, flags if follow else flags | os.O_NOFOLLOW, dir_fd=descriptor)
            outer, descriptor = descriptor, inner  # first, so that an interruption closes no descriptor twice
            os.close(outer)
        yield descriptor
    finally:
        os.close(descriptor)
