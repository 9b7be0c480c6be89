"""How busy a GPU is, by NVIDIA's management library (NVML), which comes with the driver."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

_SUCCESS = 0


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]  # as ctypes declares it


def gpu_use(uuid: str) -> float | None:
    """Return the share of the last moments in which a GPU ran a kernel, from 0 to 1; None if NVML does not say.

    It does not for a part of a GPU (MIG). Other processes on the same GPU count, too.

    Args:
        uuid: of the device, as ``torch.cuda.get_device_properties(0).uuid`` gives it.
    """
    nvml = _library()
    handle = _handle(uuid) if nvml else None
    if nvml is None or handle is None:
        return None
    use = _Utilization()
    return use.gpu / 100 if nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(use)) == _SUCCESS else None


@functools.cache
def _library() -> Any:
    """Return NVML, ready for use; None if there is none."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        return nvml if nvml.nvmlInit_v2() == _SUCCESS else None
    except (OSError, AttributeError):
        return None


@functools.cache
def _handle(uuid: str) -> Any:
    handle = ctypes.c_void_p()
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    found = _library().nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) == _SUCCESS
    return handle if found else None
