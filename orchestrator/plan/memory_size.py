"""Bytes of memory: how many there are, and how a number of them is written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def memory() -> int:
    """Bytes of memory that this machine has, or its container may use."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        there = min(there, int(_CGROUP.read_text()))
    return there


def shown(count: float) -> str:
    """Bytes for people, and for a sweep file: 12MB, 3.4GB."""
    for unit in ("B", "KB", "MB"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}GB"
