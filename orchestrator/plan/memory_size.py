"""Read the machine's memory size, and format numbers of bytes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def memory() -> int:
    """Return the bytes of memory of this machine, or of its container if that is less."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        size = min(size, int(_CGROUP.read_text()))
    return size


def format_bytes(count: float) -> str:
    """Return bytes as text that a sweep file accepts: 12MB, 3.4GB."""
    for unit in ("B", "KB", "MB"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}GB"
