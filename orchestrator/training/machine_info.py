"""Describe the machine and its installed packages, for records."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORDED = (
    *("sweep-orchestrator", "torch", "torchvision", "torchmetrics", "lightning", "ray"),
    *("optuna", "cmaes", "numpy", "scipy"),
)
"""The distributions whose versions a journal records."""


def hardware() -> dict[str, Any]:
    """Return this machine's ``cpu`` (name), ``cores`` (usable), ``memory`` (bytes) and ``gpus`` (names)."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "memory": memory, "gpus": gpus}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those of the distributions that are installed."""
    installed = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
