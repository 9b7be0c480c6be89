"""W&B's server, key and mode, found as W&B finds them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from orchestrator.secrets.secret_parts import netrc_entries
from orchestrator.secrets.secret_sources import content, netrc_file, setting, wandb_files


def wandb_mode(mode: str) -> str:
    """Return W&B's mode: ``auto`` is the environment's, else online if a key or an identity is configured."""
    if mode != "auto":
        return mode
    configured = wandb_key() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return os.environ.get("WANDB_MODE") or _setting("mode") or ("online" if configured else "offline")


def wandb_url() -> str:
    """Return the URL of W&B's server, without a trailing slash."""
    url = os.environ.get("WANDB_BASE_URL") or _setting("base_url") or "https://api.wandb.ai"
    return url.rstrip("/")


def wandb_key() -> str | None:
    """Return the key for `wandb_url`, looked up as W&B does: environment, settings files, netrc; None without one."""
    if key := os.environ.get("WANDB_API_KEY") or _setting("api_key"):
        return key
    entries = dict(netrc_entries(content(netrc_file())))
    host = urlsplit(wandb_url())
    return entries.get(host.netloc) or entries.get(host.hostname or "") or entries.get("default")


def _setting(name: str) -> str:
    return next((value for path in wandb_files() if (value := setting(path, name))), "")
