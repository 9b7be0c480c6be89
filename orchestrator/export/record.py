"""MANIFEST.json: where a bundle comes from, what is in it, and how each format compared."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.manifest import FORMAT
from orchestrator.results.winner import Winner
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.training.hardware import hardware

if TYPE_CHECKING:
    from orchestrator.export.models import Exported

_PACKAGES = (
    "sweep-orchestrator",
    "torch",
    "torchvision",
    "lightning",
    "numpy",
    "pillow",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


def record(state: SweepState, won: Winner, exported: Exported, files: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """The content, but for its own digest. ``files``: name → size and SHA-256, as they were read back."""
    validation = exported.validation
    return {
        "format": FORMAT,
        "files": {name: {"size": size, "sha256": sha256} for name, (size, sha256) in files.items()},
        "sweep": state.spec["name"],
        "journal": state.seq,
        "trial": {"number": won.trial.number, "epoch": won.best.epoch, "confirmed": won.confirmed},
        **{name: state.created.get(name) for name in ("seed", "versions", "git")},
        "hardware": won.state.machine.get("hardware"),
        "exported": {"versions": _versions(), "hardware": hardware()},
        "data": {
            "validation": validation.validation,
            "training": validation.training,
            "validation_sha256": validation.sha256,
        },
        "parity": {name: parity.as_json() for name, parity in exported.parity.items()},
        "load_from_checkpoint": exported.loads or True,
        "missing": exported.missing,
    }


def source_of(run: RunDirectory, state: SweepState) -> list[str]:
    """The folders that the sweep's classes were imported from; none in the run directory, where nothing is code."""
    root = run.root.resolve()
    return [path for path in state.created.get("roots", []) if not Path(path).resolve().is_relative_to(root)]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
