"""Keys and passwords of this process's environment, and texts without them."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from netrc import NetrcParseError, netrc

HIDDEN = "***"
SHORTEST = 8
"""Characters of the shortest value that counts as a secret: what is shorter stands in texts by chance."""

_NAME = re.compile(
    r"(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|WEBHOOK(?:_URL)?)(?:_ID)?$|SECRET",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)|(?<=://)[^\s/@:'\"]{20,}(?=@)")
_ON_PURPOSE = ("AWS_ACCESS_KEY_ID",)  # names who asks, as a user name does
_WANDB_HOST = "api.wandb.ai"


def redact(text: str) -> str:
    """``text`` with ``***`` in place of every secret of this process, and of user and password in a URL.

    Secrets are the values, of eight characters or more, of environment variables whose names end in KEY, TOKEN, SECRET,
    PASSWORD, CREDENTIALS, WEBHOOK and the like, or hold SECRET, and the key for W&B in the netrc file. Never raises.
    """
    for _, value in secrets():
        text = text.replace(value, HIDDEN)
    return _USERINFO.sub(HIDDEN, text) if "://" in text else text


def secrets() -> list[tuple[str, str]]:
    """Where each secret comes from (``$WANDB_API_KEY``, say), and the secret itself, the longest first.

    A variable that holds the path of a file holds no secret.
    """
    found = [
        (f"${name}", value)
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and _NAME.search(name) and name not in _ON_PURPOSE and not _is_path(value)
    ]
    key = _wandb_key(os.environ.get("NETRC") or os.path.expanduser("~/.netrc"))  # noqa: PTH111
    if key and len(key) >= SHORTEST:
        found.append(("the netrc file", key))
    return sorted(found, key=lambda secret: -len(secret[1]))


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", "./")) and os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111


@lru_cache(maxsize=4)
def _wandb_key(file: str) -> str | None:
    """The key for W&B in a netrc file, read once: it is asked for at every record."""
    try:
        found = netrc(file).authenticators(_WANDB_HOST)
    except (OSError, UnicodeDecodeError, NetrcParseError):
        return None
    return found[2] if found else None
