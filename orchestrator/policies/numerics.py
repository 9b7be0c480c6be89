"""The arithmetic of this machine and its libraries, which decides the last digits of what a searcher computes."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "torch", "optuna", "cmaes")
"""Packages whose versions may change a result."""


@cache
def numerics() -> dict[str, str]:
    """Return ``machine``, ``blas`` with its kernel, and ``probe``, a hash of what some fixed computations yield here.

    Machines with the same probe compute the same bits, as far as the probe reaches: matrix products, decompositions and
    transcendental functions.
    """
    return {"machine": platform.machine(), "blas": _blas(), "probe": _probe()}


def same_numerics(recorded: Mapping[str, Any] | None, versions: Mapping[str, Any]) -> bool:
    """Return whether recorded results should be the same here: equal probes, and equal libraries where recorded.

    Without a record of the numerics, the libraries' versions decide.
    """
    if recorded and recorded.get("probe") != numerics()["probe"]:
        return False
    return all(versions[name] == _installed(name) for name in LIBRARIES if name in versions)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _blas() -> str:
    """Return numpy's BLAS and the kernel that it has chosen for this CPU, such as ``scipy-openblas 0.3.30 Haswell``."""
    import numpy as np

    with suppress(Exception):  # what numpy tells of its build differs between versions
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return " ".join(filter(None, (built["name"], built["version"], _kernel(Path(np.__file__).parent.parent))))
    return ""


def _kernel(packages: Path) -> str:
    """Return the name of OpenBLAS's kernel; empty if numpy has another BLAS."""
    for library in (packages / "numpy.libs").glob("libscipy_openblas*"):
        with suppress(OSError, AttributeError):
            core = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
            core.restype = ctypes.c_char_p
            return str(core().decode())
    return ""


def _probe() -> str:
    import numpy as np

    points = np.sin(np.arange(1.0, 37.0 * 37.0 + 1.0)).reshape(37, 37)
    square = points @ points.T
    results = [square, *np.linalg.eigh(square), np.linalg.solve(square + np.eye(37), points)]
    results += [np.exp(points), np.log(np.abs(points)), np.tanh(points), points.sum(axis=0), np.cumsum(points)]
    return blake2b(b"".join(np.ascontiguousarray(result).tobytes() for result in results), digest_size=8).hexdigest()
