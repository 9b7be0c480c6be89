"""What a model is written as. A new format is one class here, and its place in FORMATS."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import lightning as L
import torch
from torch import Tensor

from orchestrator.bundle import inference, module_loading
from orchestrator.bundle.manifest import ONNX, PROGRAM, SAFETENSORS
from orchestrator.export.parity import Array, ParityError, Run

LARGEST_ONNX = 2_000_000_000  # bytes of weights: protobuf ends at 2 GiB, and what is beyond goes into a second file
_TRACED_ROWS = 5  # neither 0 nor 1, which a trace takes for constants


class Model:
    """What formats are made from: the module with the checkpoint's weights, how it was built, an input's shape.

    ``inputs`` (N, …) gives the shape alone: the program that is traced holds no data.
    """

    def __init__(self, module: L.LightningModule, spec: Mapping[str, Any], inputs: Tensor | None) -> None:
        self.module = module
        self.spec = spec
        self._example = None if inputs is None else torch.zeros(_TRACED_ROWS, *inputs.shape[1:], dtype=inputs.dtype)

    @cached_property
    def program(self) -> Any:
        """``torch.export``'s program of ``forward``, for batches of any size. Raises what torch raises."""
        if isinstance(self._program, Exception):
            raise self._program
        return self._program

    @cached_property
    def _program(self) -> Any:
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        try:
            with _quietly(), torch.no_grad():
                program = torch.export.export(self.module, (self._example,), dynamic_shapes=shapes)
        except Exception as error:  # many kinds, and the user's own
            return error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # names files of this machine
        return program


class Format(Protocol):
    """A way to write a model. ``needs_input``: whether it is made from what ``forward`` does on an example."""

    name: ClassVar[str]
    file: ClassVar[str]
    needs_input: ClassVar[bool]

    def write(self, model: Model, file: Path) -> None:
        """Raises whatever the library raises where the model cannot be written so."""

    def load(self, model: Model, file: Path) -> Run:
        """What computes the outputs, from the file as it was written."""


class Safetensors:
    """The weights alone, for the class to be built anew."""

    name: ClassVar[str] = "safetensors"
    file: ClassVar[str] = SAFETENSORS
    needs_input: ClassVar[bool] = False

    def write(self, model: Model, file: Path) -> None:
        from safetensors.torch import save_model

        save_model(model.module, str(file))

    def load(self, model: Model, file: Path) -> Run:
        module = module_loading.from_safetensors(file, model.spec).float()
        _check_same(model.module.state_dict(), module.state_dict())
        return eager(module)


class Onnx:
    """One file, for ONNX Runtime and all that reads ONNX."""

    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = ONNX
    needs_input: ClassVar[bool] = True

    def write(self, model: Model, file: Path) -> None:
        program = model.program
        with _quietly():
            made = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: "batch"},),
            )
            assert made is not None
            made.save(file, external_data=_weight(model.module) > LARGEST_ONNX)

    def load(self, model: Model, file: Path) -> Run:
        return inference.through_onnx(inference.session(file))


class Program:
    """``torch.export``'s program: runs without the class, with torch."""

    name: ClassVar[str] = "pt2"
    file: ClassVar[str] = PROGRAM
    needs_input: ClassVar[bool] = True

    def write(self, model: Model, file: Path) -> None:
        program = model.program
        with _quietly():
            torch.export.save(program, file)

    def load(self, model: Model, file: Path) -> Run:
        with _quietly():
            return inference.through_torch(file)


FORMATS: tuple[Format, ...] = (Safetensors(), Onnx(), Program())


def eager(module: L.LightningModule) -> Run:
    """``forward`` itself, from array to array."""

    def run(inputs: Array) -> Array:
        with torch.no_grad():
            outputs = module(torch.from_numpy(inputs))
        if not isinstance(outputs, Tensor):
            raise TypeError(f"forward gives a {type(outputs).__name__}, not a tensor")
        found: Array = outputs.numpy()
        return found

    return run


def _check_same(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Weights are compared to the bit, data or no data. Raises ParityError."""
    same = wanted.keys() == got.keys() and all(torch.equal(tensor, got[name]) for name, tensor in wanted.items())
    if not same:
        raise ParityError("the safetensors format does not hold the checkpoint's weights; nothing was exported")


def _weight(module: L.LightningModule) -> int:
    return sum(tensor.nbytes for tensor in module.state_dict().values() if isinstance(tensor, Tensor))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The libraries' own warnings, logs and prints while they trace: nobody can act on them, and errors are raised."""
    disabled = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.filterwarnings("ignore", module=r"(torch|onnx|onnxscript|onnx_ir|copyreg)(\.|$)")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
