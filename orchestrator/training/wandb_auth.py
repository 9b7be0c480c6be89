"""Whether W&B is to be written online or offline: a look at the environment, without W&B itself."""

from __future__ import annotations

import os
from netrc import NetrcParseError, netrc
from urllib.parse import urlsplit


def wandb_mode(mode: str) -> str:
    """What W&B is asked for: ``auto`` is the environment's mode, else online where a key is configured, or offline."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if wandb_key() or _has_identity() else "offline")


def wandb_url() -> str:
    """Where W&B's server is, without a slash at its end."""
    return (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")


def wandb_key() -> str | None:
    """The key for that server where W&B looks for it, the environment and then the netrc file; None without one."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    try:
        found = netrc(os.environ.get("NETRC")).authenticators(urlsplit(wandb_url()).hostname or "")
    except (OSError, UnicodeDecodeError, NetrcParseError):
        return None
    return found[2] if found else None


def _has_identity() -> bool:
    return bool(os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))
