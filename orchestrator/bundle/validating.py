"""``Trainer.validate`` with a bundle's module: the part of its evaluation that needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.seed import isolate_rng

from orchestrator.bundle.manifest import CONFIG, Manifest
from orchestrator.bundle.modules import load_module
from orchestrator.errors import SweepError, UsageError
from orchestrator.training import components
from orchestrator.training.components.importing import import_from
from orchestrator.training.isolation import isolated
from orchestrator.training.precision import resolve_precision

_QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


def validated(manifest: Manifest, class_path: str | None, arguments: Mapping[str, Any]) -> dict[str, float]:
    config = manifest.read_json(CONFIG)
    import_from([str(Path.cwd())])
    with isolated(), isolate_rng():
        module = load_module(manifest, config)
        L.seed_everything(config["seed"], verbose=False)  # as in training, and in its order: a split may hang on it
        components.build(config["model"])
        data = _data(config, class_path, arguments)
        found = _run(L.Trainer(**_arguments(config["trainer"])), module, data)
    return {name: float(value) for metrics in found for name, value in metrics.items()}


def _run(trainer: L.Trainer, module: L.LightningModule, data: Any) -> list[Mapping[str, float]]:
    try:
        return trainer.validate(module, datamodule=data, verbose=False)
    except SweepError:
        raise
    except Exception as error:  # the user's module and data may raise anything at all
        hint = "where the data lie elsewhere now: --set data_dir=DIR"
        raise UsageError(f"the validation failed: {type(error).__name__}: {error}", hint=hint) from error


def _data(config: Mapping[str, Any], class_path: str | None, arguments: Mapping[str, Any]) -> Any:
    named: Any = {"class_path": class_path} if class_path else config["data"]
    if named is None:
        if arguments:
            raise UsageError("the bundle has no DataModule to set arguments of", hint="--data IMPORT.PATH names one")
        return None
    try:
        data = components.build({**named, "init_args": {**(named.get("init_args") or {}), **arguments}})
    except SweepError:
        raise
    except Exception as error:
        raise UsageError(f"{named['class_path']} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(data, L.LightningDataModule):
        raise UsageError(f"{named['class_path']} is not a LightningDataModule")
    return data


def _arguments(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """What of the training's arguments bears on validation."""
    kept = {name: trainer[name] for name in ("limit_val_batches", "precision") if trainer.get(name) is not None}
    precision = resolve_precision(kept.get("precision", "auto"))
    return {**kept, "precision": precision, "devices": 1, **dict.fromkeys(_QUIET, False)}
