"""How many trials this machine runs at once."""

from __future__ import annotations

import os

from orchestrator.errors import UsageError
from orchestrator.spec import Resources


def slot_count(resources: Resources, available: int) -> int:
    """How many trials fit on this machine at once. Raises UsageError where not even one does."""
    gpus = _gpus() if resources.gpus else 0
    workers = resources.workers
    for name, wanted, there in (("cpus", resources.cpus, available), ("gpus", resources.gpus, gpus)):
        if wanted * workers > there:
            of = f" for {workers} workers" if workers > 1 else ""
            raise UsageError(
                f"a trial wants {wanted * workers:g} {name}{of}, and this machine has {there}",
                hint=f"--set resources.{name}={there // workers if workers > 1 else there}",
            )
    fits = [available / (resources.cpus * workers) if resources.cpus else available / workers]
    fits += [gpus / (resources.gpus * workers)] if resources.gpus else []
    slots = max(1, int(min(fits) + 1e-9))
    return min(slots, resources.concurrent or slots)


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
