"""Build the LightningModule of a bundle and load the exported weights into it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng

from orchestrator.bundle.bundle_manifest import CHECKPOINT, SAFETENSORS, Manifest
from orchestrator.errors import CheckpointError, CodecError, UsageError
from orchestrator.extras import require
from orchestrator.training.checkpoints import restored
from orchestrator.training.class_loading import constructor_errors
from orchestrator.training.job import model_name
from orchestrator.training.trained_parts import build_module


def load_module(manifest: Manifest, config: Mapping[str, Any]) -> L.LightningModule:
    """Return the module on the CPU, in evaluation mode, with the weights of model.safetensors, else of model.ckpt."""
    if manifest.has(SAFETENSORS) and find_spec("safetensors"):
        return from_safetensors(manifest.folder / SAFETENSORS, config["model"])
    return from_checkpoint(manifest.folder / CHECKPOINT, config["model"])


def from_checkpoint(file: Path, model: Mapping[str, Any]) -> L.LightningModule:
    """Return the module of ``model`` (``{class_path, init_args}``, or code) with the weights of a checkpoint.

    Raises:
        UsageError: the module cannot be built, or the weights do not fit it.
        CheckpointError: the file cannot be read without running code.
    """
    module = build(model)
    try:
        checkpoint = restored(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, CodecError) as error:
        raise CheckpointError(f"{file} cannot be loaded: {str(error).splitlines()[0]}") from error
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
    except (RuntimeError, KeyError) as error:
        raise UsageError(f"{model_name(model)} does not take the checkpoint's weights: {error}") from error
    return module.eval()


def from_safetensors(file: Path, model: Mapping[str, Any]) -> L.LightningModule:
    """Return the module of ``model`` with the weights of a safetensors file."""
    require("safetensors", purpose=f"{file.name} of a bundle")
    from safetensors.torch import load_model

    module = build(model)
    load_model(module, str(file), strict=True)
    return module.eval()


def build(model: Mapping[str, Any]) -> L.LightningModule:
    """Return the module on the CPU with initial weights, without touching the process's random number generators.

    Raises:
        UsageError: the class cannot be imported, its constructor raises, or the code fits no Trainer.
    """
    with isolate_rng(include_cuda=False):
        module = build_module(model, constructor_errors)
        if is_overridden("configure_model", module):
            module.configure_model()
    return module
