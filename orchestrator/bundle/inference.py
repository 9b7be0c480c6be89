"""What computes a bundle's outputs: ONNX Runtime on model.onnx, or torch on model.pt2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from orchestrator.bundle.manifest import ONNX, PROGRAM, Manifest
from orchestrator.bundle.preprocessing import Array, Kind
from orchestrator.errors import UsageError
from orchestrator.extras import require

Engine = Literal["onnx", "torch"]
Run = Callable[[Array], Array]
FILES: dict[Engine, str] = {"onnx": ONNX, "torch": PROGRAM}


def engine_of(manifest: Manifest, wanted: Engine | None) -> Engine:
    """The one that is wanted; else ONNX Runtime where the bundle has its file. UsageError where a file is missing."""
    present = [engine for engine, file in FILES.items() if manifest.has(file)]
    if wanted is None and present:
        return present[0]
    if wanted in present and wanted is not None:
        return wanted
    formats = {"onnx": "onnx", "torch": "pt2"}
    reasons = [f"{name}: {manifest.missing[name]}" for name in formats.values() if name in manifest.missing]
    file = FILES[wanted] if wanted else " or ".join(FILES.values())
    hint = f"--engine {present[0]}" if present else "the module itself is there: Bundle.module()"
    raise UsageError(f"{manifest.folder} has no {file} ({'; '.join(reasons)})", hint=hint)


def session(file: Path) -> Any:
    """An ONNX Runtime session on the CPU."""
    require("onnxruntime", purpose="engine onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings are about graphs, which nobody can act on here
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def through_onnx(session: Any) -> Run:
    name = session.get_inputs()[0].name

    def run(inputs: Array) -> Array:
        outputs: Array = session.run(None, {name: inputs})[0]
        return outputs

    return run


def through_torch(file: Path) -> Run:
    """``torch.export``'s program. Reading it may unpickle and evaluate: only for bundles you trust."""
    import torch

    program = torch.export.load(file).module()

    def run(inputs: Array) -> Array:
        with torch.no_grad():
            outputs: Array = program(torch.from_numpy(inputs)).numpy()
        return outputs

    return run


def probabilities(kind: Kind, outputs: Array) -> Array:
    """Outputs (N, classes) of a classifier as probabilities (N, classes) float64."""
    wide = outputs.astype(np.float64)
    if kind == "probabilities":
        return wide
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    normalised: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return normalised
