"""The user's key: 256 random bits in a file of mode 0600 in the user's configuration, made when it is first needed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
import sys
from pathlib import Path

from orchestrator.secrets import masked

_LENGTH = 64
_warned: set[str] = set()


def folder() -> Path | None:
    """Return the folder of the user's configuration; None for a user without a home."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    try:
        return Path(configured or Path.home() / ".config") / "sweep-orchestrator"
    except RuntimeError:  # a number without an entry in passwd, as in a container
        return None


def read() -> str:
    """Return the key; empty if there is none that only its owner can read."""
    place = folder()
    if place is None:
        return ""
    try:
        with (place / "key").open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                _warn(f"{file.name} is not used: other users may have read it; remove it, and a new one is made")
                return ""
            key = file.read(_LENGTH + 1).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return key if len(key) == _LENGTH else ""


def create() -> str:
    """Return the key, made if there is none; empty, with one notice, if it has no place."""
    if key := read():
        return key
    place = folder()
    reason = "the user has no home directory"
    if place is not None:
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(place)
        except OSError as error:
            reason = f"{error.strerror}: {place}"
    key = read()
    if not key:
        _warn(f"there is no place for your key ({reason}); later commands need --trust for the runs of this one")
    return key


def sign(key: str, content: bytes) -> str:
    """Return the HMAC-SHA-256 of the content, in hexadecimal."""
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def fingerprint(key: str) -> str:
    """Return what names a key without showing it."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def _write(place: Path) -> None:
    """Create the key complete under its name, so that another process reads all of it or finds none."""
    temporary = place / f".key.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(_LENGTH // 2).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, place / "key")
    finally:
        temporary.unlink(missing_ok=True)


def _warn(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        print(f"warning: {masked(text)}", file=sys.stderr)
