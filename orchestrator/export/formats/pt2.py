"""A ``torch.export`` program, run by torch without the class."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from orchestrator.bundle.bundle_manifest import PROGRAM
from orchestrator.bundle.inference import Forward, program_forward
from orchestrator.export.format import Format, Model, quietly


class Program(Format):
    """The traced program with its weights."""

    name: ClassVar[str] = "pt2"
    file: ClassVar[str] = PROGRAM
    needs_input: ClassVar[bool] = True

    def write(self, model: Model, file: Path) -> None:
        """Write the traced program, for batches of any size."""
        program = model.program
        with quietly():
            torch.export.save(program, file)

    def load(self, model: Model, file: Path) -> Forward:
        """Return the program in torch on the CPU."""
        with quietly():
            return program_forward(file)
