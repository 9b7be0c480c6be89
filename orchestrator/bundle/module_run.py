"""Predict by a bundle's own module where no portable format could be made: batches of any kind, by ``predict_step``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from orchestrator.bundle.bundle_manifest import CONFIG, Manifest
from orchestrator.bundle.module_loading import load_module
from orchestrator.errors import SweepError, UsageError, describe
from orchestrator.training.class_loading import constructor_errors
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.process_state import isolated, release
from orchestrator.training.trained_parts import build_parts

_QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


def predict_batch(module: L.LightningModule, batch: Any) -> Any:
    """Return what the module's ``predict_step`` returns for one batch, as `predict_batches` does."""
    whole: Any = DataLoader([batch], batch_size=None, collate_fn=lambda item: item)  # type: ignore[arg-type]
    return predict_batches(module, whole)[0]


def predict_batches(module: L.LightningModule, loader: Any) -> list[Any]:
    """Return what the module's ``predict_step`` (by default ``forward``) returns for each batch, on the CPU.

    Args:
        module: in evaluation mode.
        loader: yields batches as the module's training gets them: a tensor, tuple, mapping, or any object of the
            user's.

    Raises:
        UsageError: the user's code raised an error.
    """
    with isolated():
        trainer = L.Trainer(accelerator="cpu", devices=1, **dict.fromkeys(_QUIET, False))  # type: ignore[arg-type]
        try:
            return list(trainer.predict(module, loader) or [])
        except SweepError:
            raise
        except Exception as error:
            hint = "pass a batch as the module's training gets it, or define predict_step"
            raise UsageError(f"{type(module).__name__} cannot predict it: {describe(error)}", hint=hint) from error
        finally:
            release(trainer)


def predict_own_data(manifest: Manifest) -> list[Any]:
    """Return what the module returns for each batch of its own data: those to predict, else those to validate.

    The classes that config.json names are imported and built: use this only for bundles you trust.

    Raises:
        UsageError: there are no such data, or the user's code raised an error.
    """
    config: Mapping[str, Any] = manifest.read_json(CONFIG)
    import_from([str(Path.cwd())])
    with isolated(), isolate_rng():
        L.seed_everything(config["seed"], verbose=False)
        own, built, _ = build_parts(config["model"], config["data"], constructor_errors)
        loaders = _loaders(own, L.LightningModule) if built is None else _loaders(built, L.LightningDataModule)
        return predict_batches(load_module(manifest, config), loaders)


def _loaders(owner: Any, parent: type) -> Any:
    """Return the owner's loader of data to predict, else of those to validate. Raises UsageError for neither."""
    for stage, name in (("predict", "predict_dataloader"), ("fit", "val_dataloader")):
        if is_overridden(name, owner, parent):
            try:
                owner.prepare_data()
                owner.setup(stage)
                return getattr(owner, name)()
            except Exception as error:
                hint = "if the data have moved, change the DataModule's argument"
                raise UsageError(f"{type(owner).__name__}.{name} failed: {describe(error)}", hint=hint) from error
    raise UsageError(
        f"{type(owner).__name__} has no data to predict", hint="define predict_dataloader, or use Bundle.predict(batch)"
    )


def plain(value: Any) -> Any:
    """Return an output as JSON holds it: tensors as nested lists, objects as mappings of their fields."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value if isinstance(value, str | int | float | bool) or value is None else repr(value)
