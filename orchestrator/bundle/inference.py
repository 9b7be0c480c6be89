"""Compute a bundle's outputs: by ONNX Runtime from model.onnx, or by torch from model.pt2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from orchestrator.bundle.bundle_manifest import ONNX, PROGRAM, Manifest
from orchestrator.bundle.preprocessing import Array, Kind
from orchestrator.errors import UsageError
from orchestrator.extras import require

Engine = Literal["onnx", "torch"]
Forward = Callable[[Array], Array]
"""A model as a function of a batch: inputs (N, …) → outputs (N, …)."""
FILES: dict[Engine, str] = {"onnx": ONNX, "torch": PROGRAM}
_FORMATS: dict[Engine, str] = {"onnx": "onnx", "torch": "pt2"}


def choose_engine(manifest: Manifest, requested: Engine | None) -> Engine:
    """Return the requested engine; by default ONNX Runtime if the bundle has model.onnx, else torch.

    Raises:
        UsageError: the bundle lacks the file of the engine.
    """
    available = [engine for engine, file in FILES.items() if manifest.has(file)]
    if requested is None and available:
        return available[0]
    if requested in available and requested is not None:
        return requested
    reasons = [f"{name}: {manifest.missing[name]}" for name in _FORMATS.values() if name in manifest.missing]
    file = FILES[requested] if requested else " or ".join(FILES.values())
    hint = f"--engine {available[0]}" if available else "use the module itself: Bundle.module()"
    raise UsageError(f"{manifest.folder} has no {file} ({'; '.join(reasons)})", hint=hint)


def onnx_session(file: Path) -> Any:
    """Return an ONNX Runtime session on the CPU. Raises MissingExtraError if ONNX Runtime is not installed."""
    require("onnxruntime", purpose="engine onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; the warnings concern graph optimisation
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def onnx_forward(session: Any) -> Forward:
    """Return the model of an ONNX Runtime session."""
    name = session.get_inputs()[0].name

    def forward(inputs: Array) -> Array:
        outputs: Array = session.run(None, {name: inputs})[0]
        return outputs

    return forward


def program_forward(file: Path) -> Forward:
    """Return the model of a ``torch.export`` program. Reading one may unpickle: only for bundles you trust."""
    import torch

    program = torch.export.load(file).module()

    def forward(inputs: Array) -> Array:
        with torch.no_grad():
            outputs: Array = program(torch.from_numpy(inputs)).numpy()
        return outputs

    return forward


def probabilities(kind: Kind, outputs: Array) -> Array:
    """Return outputs (N, classes) of a classifier as probabilities (N, classes) float64."""
    wide = outputs.astype(np.float64)
    if kind == "probabilities":
        return wide
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    normalised: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return normalised
