"""The weights alone, for a module that is built from its class."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from orchestrator.bundle import module_loading
from orchestrator.bundle.bundle_manifest import SAFETENSORS
from orchestrator.bundle.inference import Forward
from orchestrator.export.format import Format, Model, forward_of
from orchestrator.export.parity import ParityError


class Safetensors(Format):
    """Weights in one file that can be read without running code."""

    name: ClassVar[str] = "safetensors"
    file: ClassVar[str] = SAFETENSORS
    requires: ClassVar[tuple[str, ...]] = ("safetensors",)

    def write(self, model: Model, file: Path) -> None:
        """Write the weights; tied ones once."""
        from safetensors.torch import save_model

        save_model(model.module, str(file))

    def load(self, model: Model, file: Path) -> Forward:
        """Build a new module with the file's weights. Raises ParityError unless they are equal to the bit."""
        module = module_loading.from_safetensors(file, model.spec).float()
        expected, weights = model.module.state_dict(), module.state_dict()
        if expected.keys() != weights.keys() or not all(
            torch.equal(tensor, weights[name]) for name, tensor in expected.items()
        ):
            raise ParityError("the safetensors format does not hold the checkpoint's weights; nothing was exported")
        return forward_of(module)
