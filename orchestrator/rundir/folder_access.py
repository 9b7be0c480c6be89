"""Who may open a run directory: its owner alone, or with ``share: group`` the folder's group too."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from orchestrator.durable_files import GROUP_FOLDER, is_shared_folder

_PRIVATE = 0o700
_FOREIGN = "{root} belongs to another user (number {owner}), who can read and change all that is in it"
_DEFAULT_ACL = "system.posix_acl_default"
# Linux's include/uapi/linux/posix_acl_xattr.h: version 2, then (tag, permissions, id) of owner, group and others.
_GROUP_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, 0xFFFFFFFF) for tag, permissions in ((0x01, 7), (0x04, 7), (0x20, 0))
)


def restrict(root: Path, *, share: bool) -> str:
    """Give a run directory of this user its mode: 0700, or 02770 if it is shared with the folder's group.

    A shared one gets a default ACL, too, so that the group may write new files whatever the umask is, and what exists
    in it becomes writable by the group. A directory of another user stays as it is: only its owner can change it.

    Returns:
        A sentence for the user if the directory was wider than it may be, belongs to another user, or cannot be given
        its mode; else empty.
    """
    status = root.stat()
    if status.st_uid != os.geteuid():
        return "" if share or status.st_uid == 0 else _FOREIGN.format(root=root, owner=status.st_uid)
    return _open_to_group(root) if share else _close(root, stat.S_IMODE(status.st_mode))


def _close(root: Path, mode: int) -> str:
    if not mode & 0o077:
        return ""
    with contextlib.suppress(OSError):
        root.chmod(_PRIVATE)
    if stat.S_IMODE(root.stat().st_mode) & 0o077:
        return f"{root} is open to other users (mode {mode:04o}), and its file system does not let it be closed"
    return (
        f"{root} was open to other users (mode {mode:04o}); now only you can open it. "
        "To share runs with a group, say share: group in the sweep file"
    )


def _open_to_group(root: Path) -> str:
    with contextlib.suppress(OSError):
        for folder in (root, *_own(root, folders=True)):
            folder.chmod(GROUP_FOLDER)
        for file in _own(root, folders=False):
            file.chmod(0o660 | stat.S_IMODE(file.stat().st_mode) & 0o110)
    if not is_shared_folder(root) or stat.S_IMODE(root.stat().st_mode) & 0o007:
        return f"{root} cannot be shared: its file system or its group does not take mode {GROUP_FOLDER:04o}"
    return "" if _inherits(root) else _umask_notice(root)


def _inherits(root: Path) -> bool:
    """Set the default ACL on each folder; return False if the file system or the system has none."""
    try:
        for folder in (root, *_own(root, folders=True)):
            os.setxattr(folder, _DEFAULT_ACL, _GROUP_ACL)
    except (OSError, AttributeError):  # AttributeError: not on macOS
        return False
    return True


def _umask_notice(root: Path) -> str:
    umask = os.umask(0o077)
    os.umask(umask)
    if not umask & 0o060:
        return ""
    return (
        f"the file system of {root} has no default ACLs, so files of trials follow your umask ({umask:04o}); "
        "for the group to resume this run, set umask 007 before the start"
    )


def _own(root: Path, *, folders: bool) -> Iterator[Path]:
    """Yield this user's folders or plain files below ``root``; no link is followed."""
    for parent, names, files in os.walk(root):
        for name in names if folders else files:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                status = path.lstat()
                kind = stat.S_ISDIR if folders else stat.S_ISREG
                if kind(status.st_mode) and status.st_uid == os.geteuid():
                    yield path
