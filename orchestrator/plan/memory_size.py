"""Read the machine's memory size, and write numbers of bytes as text."""

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


def size_text(size: float) -> str:
    """Return bytes as text, which a sweep file accepts, too: 312 B, 4.1 MB, 2.6 GB."""
    power = 0
    while size >= 999.5 and power < 4:
        size, power = size / 1000, power + 1
    unit = ("B", "kB", "MB", "GB", "TB")[power]
    return f"{size:.0f} {unit}" if power == 0 or size >= 99.5 else f"{size:.1f} {unit}"
