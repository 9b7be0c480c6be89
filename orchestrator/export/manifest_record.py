"""MANIFEST.json: where a bundle comes from, what is in it, and how each format compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.manifest import FORMAT
from orchestrator.results.winner import Winner
from orchestrator.state import SweepState
from orchestrator.training.machine_info import hardware, versions

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

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
        "exported": {"versions": versions(_PACKAGES), "hardware": hardware()},
        "data": {
            "validation": validation.validation,
            "training": validation.training,
            "validation_sha256": validation.sha256,
        },
        "parity": {name: parity.as_json() for name, parity in exported.parity.items()},
        "load_from_checkpoint": exported.loads or True,
        "missing": exported.missing,
    }
