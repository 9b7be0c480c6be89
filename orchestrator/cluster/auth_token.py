"""The token that a cluster requires: a file that only its owner can read, and that is never printed."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.secrets import register_file

DEFAULT_PATH = "~/.sweep/token"
"""The token's default file. Not Ray's own default, where a file would change what a later ``ray start`` does."""
MIN_LENGTH = 32


def create(path: Path, *, new: bool = False) -> bool:
    """Create a token in ``path``, unless there is one: 256 random bits in hexadecimal.

    The file has mode 0600, its folder 0700.

    Args:
        path: The token's file.
        new: Replace a token that exists.

    Returns:
        Whether a token was created.

    Raises:
        UsageError: The file exists and holds no token.
    """
    if path.exists() and not new:
        read(path, check_mode=False)
        path.chmod(0o600)
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    register_file(path, "the cluster's token")
    write_durably(path, secrets.token_hex(32).encode())
    return True


def read(path: Path, *, check_mode: bool = True) -> str:
    """Return the token in ``path``.

    Raises:
        UsageError: There is no token, or (with ``check_mode``) users other than the owner can read it.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"there is no token in {path}: {reason}", hint="sweep cluster token") from None
    if len(token) < MIN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{path} holds no token: a token has at least {MIN_LENGTH} characters, all of them printable ASCII",
            hint="sweep cluster token --new",
        )
    if mode & 0o077 and check_mode:
        raise UsageError(
            f"the token in {path} can be read by others (mode {mode:04o})",
            hint="sweep cluster token --new, if others may have read it; else sweep cluster token",
        )
    register_file(path, "the cluster's token")
    return token


def fingerprint(path: Path) -> str:
    """Return the first 12 hexadecimal digits of the token's SHA-256, to compare two tokens without showing them."""
    return hashlib.sha256(read(path, check_mode=False).encode()).hexdigest()[:12]


def environment(path: Path | None) -> dict[str, str]:
    """Return the variables that Ray's programs and clients need to use the token in ``path``, or no token.

    The mode is always set, because Ray uses a token by default if it finds one in its own place.

    Raises:
        UsageError: The token cannot be used.
    """
    if path is None:
        return {"RAY_AUTH_MODE": "disabled"}
    read(path)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path.absolute())}


def find(path: Path | None = None) -> Path | None:
    """Return the token's file: ``path``, else ``$RAY_AUTH_TOKEN_PATH``, else `DEFAULT_PATH` if it exists, else None."""
    if path is not None:
        return path
    configured = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(configured or DEFAULT_PATH).expanduser()
    return file if configured or file.exists() else None
