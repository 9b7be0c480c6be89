"""Keep freed memory for the next step, recognise out-of-memory errors, and release unused memory."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import os
import sys
from contextlib import suppress

from orchestrator.errors import causes, describe, is_a

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
_MMAP_THRESHOLD = 32 * 2**20  # the largest that glibc accepts
_TRIM_THRESHOLD = 2**30

# Out-of-memory messages of torch 2.11 to 2.15 that have no error class of their own.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to mmap",
    "out of shared memory",  # a DataLoader's worker died of a bus error
    "is killed by signal: Killed",  # a DataLoader's worker, almost always by the kernel's out-of-memory killer
)


@functools.cache
def keep_freed_memory() -> bool:
    """Make the C library keep up to 1 GiB of freed memory. Return whether it does (Linux with glibc only).

    Each activation of a convolution is some megabytes. glibc returns such blocks to the system when they are freed,
    and the next step pays for mapping and clearing the same pages again: 13 to 17 % of a step of LitModel on a CPU.
    Results do not change. See mallopt(3); MALLOC_ settings of the environment are left as they are.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _MMAP_THRESHOLD, _M_TRIM_THRESHOLD: _TRIM_THRESHOLD}
    return all(mallopt(name, value) for name, value in settings.items())


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether the error, or one of its causes, is an out-of-memory error of the host or of a device."""
    return any(_is_out_of_memory(cause) for cause in causes(error))


def _is_out_of_memory(error: BaseException) -> bool:
    if is_a(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without loading torch
        return True
    if is_a(error, OSError):
        return getattr(error, "errno", None) == errno.ENOMEM
    return is_a(error, RuntimeError) and any(text in describe(error) for text in _OUT_OF_MEMORY)


def release_memory() -> None:
    """Return unused host and device memory to the system, for other processes."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # an error has left the device unusable
            torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # only glibc has malloc_trim, and only glibc keeps freed memory
        ctypes.CDLL(None).malloc_trim(0)
