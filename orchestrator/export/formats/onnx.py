"""ONNX, for ONNX Runtime and everything else that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from orchestrator.bundle.bundle_manifest import ONNX
from orchestrator.bundle.inference import Forward, onnx_forward, onnx_session
from orchestrator.export.format import Format, Model, quietly

LARGEST_ONNX = 2_000_000_000  # bytes of weights; protobuf is limited to 2 GiB, larger weights need a second file


class Onnx(Format):
    """A graph with its weights, run without the class and without torch."""

    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = ONNX
    needs_input: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")

    def write(self, model: Model, file: Path) -> None:
        """Write the traced program, for batches of any size."""
        program = model.program
        weights = sum(tensor.nbytes for tensor in model.module.state_dict().values() if isinstance(tensor, Tensor))
        with quietly():
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: "batch"},),
            )
            assert onnx_program is not None
            onnx_program.save(file, external_data=weights > LARGEST_ONNX)

    def load(self, model: Model, file: Path) -> Forward:
        """Return the model in ONNX Runtime on the CPU."""
        return onnx_forward(onnx_session(file))
