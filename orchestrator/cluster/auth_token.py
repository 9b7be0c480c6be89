"""The token that a cluster asks for: made once, kept readable by its owner alone, never shown."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.secrets import register_file

KEPT = "~/.sweep/token"
"""Where the token is kept. Not where Ray looks by itself: a file there changes what a later ``ray start`` does."""
SHORTEST = 32


def make(path: Path, *, new: bool = False) -> bool:
    """See that there is a token in ``path``, of mode 0600 in a folder of mode 0700; True where it was made now.

    256 random bits, in hexadecimal. With ``new`` another one takes the place of the one that is there.

    Raises UsageError where what is there is no token.
    """
    if path.exists() and not new:
        read(path, loose=True)
        path.chmod(0o600)
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    register_file(path, "the cluster's token")
    write_durably(path, secrets.token_hex(32).encode())
    return True


def read(path: Path, *, loose: bool = False) -> str:
    """The token in ``path``.

    Raises UsageError where there is none, it is no token, or (unless ``loose``) others can read it.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"there is no token in {path}: {said}", hint="sweep cluster token") from None
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        said = f"{path} holds no token: {SHORTEST} characters or more are wanted"
        raise UsageError(said, hint="sweep cluster token --new")
    if mode & 0o077 and not loose:
        raise UsageError(
            f"the token in {path} can be read by others (mode {mode:04o})",
            hint="sweep cluster token --new, if others may have read it; else sweep cluster token",
        )
    register_file(path, "the cluster's token")
    return token


def fingerprint(path: Path) -> str:
    """The first characters of the token's SHA-256: enough to see whether two are the same."""
    return hashlib.sha256(read(path, loose=True).encode()).hexdigest()[:12]


def environment(path: Path | None) -> dict[str, str]:
    """What Ray's programs and clients must have in their environment: a token from ``path``, or no token at all.

    Ray asks for tokens by itself where a file lies in its own place, so the mode is always said.
    Raises UsageError where the token cannot be used.
    """
    if path is None:
        return {"RAY_AUTH_MODE": "disabled"}
    read(path)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path.absolute())}


def found(path: Path | None = None) -> Path | None:
    """The token's file to use: ``path``, else ``$RAY_AUTH_TOKEN_PATH``, else `KEPT`; None where none is there."""
    if path is not None:
        return path
    asked = os.environ.get("RAY_AUTH_TOKEN_PATH")
    kept = Path(asked or KEPT).expanduser()
    return kept if asked or kept.exists() else None
