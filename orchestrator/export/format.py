"""The base class of export formats, and the model that a format writes.

A format is one class in one file of `orchestrator.export.formats`, or of a package with an entry point in the group
``sweep_orchestrator.export_formats`` (see `orchestrator.registry`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, final

import lightning as L
import torch
from torch import Tensor

from orchestrator.bundle import bundle_manifest
from orchestrator.bundle.inference import Forward
from orchestrator.bundle.preprocessing import Array, Kind
from orchestrator.errors import UsageError
from orchestrator.export.parity import Parity, compare
from orchestrator.extras import require

_TRACED_ROWS = 5  # neither 0 nor 1, which a trace specialises on
_OTHER_FILES = (
    bundle_manifest.MANIFEST,
    bundle_manifest.CONFIG,
    bundle_manifest.PREPROCESSING,
    bundle_manifest.CARD,
    bundle_manifest.CHECKPOINT,
    bundle_manifest.LIGHTNING,
    bundle_manifest.CURVE,
    bundle_manifest.DIFF,
)


class Model:
    """The model that formats write: the module with the checkpoint's weights, in float32 on the CPU.

    Args:
        module: the module in evaluation mode.
        spec: ``{class_path, init_args}``, as the module was built.
        inputs: inputs (N, …), of which only shape and type are used; None if they are unknown.
    """

    def __init__(self, module: L.LightningModule, spec: Mapping[str, Any], inputs: Tensor | None) -> None:
        self.module = module
        self.spec = spec
        self._example = None if inputs is None else torch.zeros(_TRACED_ROWS, *inputs.shape[1:], dtype=inputs.dtype)

    @cached_property
    def program(self) -> Any:
        """The ``torch.export`` program of ``forward``, for batches of any size. Raises what torch raises."""
        if isinstance(self._program, Exception):
            raise self._program
        return self._program

    @cached_property
    def _program(self) -> Any:
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        try:
            with quietly(), torch.no_grad():
                program = torch.export.export(self.module, (self._example,), dynamic_shapes=shapes)
        except Exception as error:  # torch raises many kinds, and so does the user's forward
            return error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # names files of this machine
        return program


@dataclass(frozen=True)
class Reference:
    """The checkpoint's outputs, which every format must reproduce.

    Attributes:
        batches: inputs (N, …) and outputs (N, …) of each batch.
        kind: the meaning of the outputs.
        source: the origin of the inputs, for the manifest.
    """

    batches: Sequence[tuple[Array, Array]]
    kind: Kind
    source: str


class Format(ABC):
    """A file format of an exported model.

    Attributes:
        name: the format's name in the manifest, on the command line and in the registry.
        file: the name of its file in the bundle. Files whose names begin with it belong to the format, too.
        needs_input: whether writing it needs an example input.
        requires: libraries of this distribution's extras that it imports: keys of `orchestrator.extras.EXTRAS`. A
            third-party package declares its other libraries as its own dependencies.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    needs_input: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, model: Model, file: Path) -> None:
        """Write the model to the file. Raise any exception if the model cannot be written in this format."""

    @abstractmethod
    def load(self, model: Model, file: Path) -> Forward:
        """Return the model as a function, computed from the file alone. ``model`` is for its class and arguments."""

    @final
    def export(self, model: Model, folder: Path, reference: Reference | None) -> Parity | None:
        """Write the model, load it back and compare its outputs with the checkpoint's.

        Args:
            model: the model.
            folder: the bundle's folder.
            reference: the checkpoint's outputs; None if outputs cannot be compared, and then None is returned.

        Raises:
            MissingExtraError: a required package is not installed.
            ParityError: the outputs differ.
        """
        self.check_installed()
        file = folder / self.file
        if self.file != file.name or self.file in _OTHER_FILES or file.exists():
            raise UsageError(f"the {self.name} format cannot write {self.file!r}: the name is taken or not a file name")
        self.write(model, file)
        if not file.is_file():
            raise UsageError(f"the {self.name} format did not write {self.file}")
        forward = self.load(model, file)
        if reference is None:
            return None
        return compare(self.name, forward, reference.batches, kind=reference.kind, source=reference.source)

    @final
    def check_installed(self) -> None:
        """Raise MissingExtraError if a required package is not installed."""
        require(*self.requires, purpose=f"export format {self.name}")


def forward_of(module: L.LightningModule) -> Forward:
    """Return ``forward`` of a module as a function of arrays. The function raises TypeError if no tensor comes out."""

    def forward(inputs: Array) -> Array:
        with torch.no_grad():
            outputs = module(torch.from_numpy(inputs))
        if not isinstance(outputs, Tensor):
            raise TypeError(f"forward returns a {type(outputs).__name__}, not a tensor")
        array: Array = outputs.numpy()
        return array

    return forward


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress warnings, logs and prints of the libraries that trace a model; errors are still raised."""
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
