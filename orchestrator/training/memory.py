"""Memory: what a step frees and asks for again is kept by the process; what ran out of it is known and given back."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import os
import sys
from contextlib import suppress

from orchestrator.errors import causes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_LARGEST_ON_HEAP = 32 * 2**20  # the largest that glibc takes
_KEPT = 2**30

# How torch 2.11 to 2.15, where it has no error class for it, says that there is no memory left.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to mmap",
    "out of shared memory",  # a DataLoader's worker died of a bus error
    "is killed by signal: Killed",  # a DataLoader's worker: the kernel's out-of-memory killer, as good as always
)


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


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or what caused it, says that there was no memory left, on the host or on a device."""
    return any(_says_out_of_memory(link) for link in causes(error))


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without loading torch
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def give_back_memory() -> None:
    """Let go of all that nothing refers to any more, host memory and device memory, so that others can have it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # a device that an error has left unusable
            torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc has it; others keep nothing to give back
        ctypes.CDLL(None).malloc_trim(0)
