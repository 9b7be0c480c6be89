"""How many trials this machine runs at once."""

from __future__ import annotations

import os

from orchestrator.errors import UsageError
from orchestrator.spec import Resources


def slot_count(resources: Resources, available: int) -> int:
    """How many trials fit on this machine at once. Raises UsageError where not even one does."""
    gpus = _gpus() if resources.gpus else 0
    for name, wanted, there in (("cpus", resources.cpus, available), ("gpus", resources.gpus, gpus)):
        if wanted > there:
            raise UsageError(
                f"a trial wants {wanted:g} {name}, and this machine has {there}",
                hint=f"--set resources.{name}={there}",
            )
    fits = [available / resources.cpus if resources.cpus else available]
    fits += [gpus / resources.gpus] if resources.gpus else []
    slots = max(1, int(min(fits) + 1e-9))
    return min(slots, resources.concurrent or slots)


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
