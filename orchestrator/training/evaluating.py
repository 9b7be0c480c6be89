"""One evaluation of a checkpoint by a real ``lightning.Trainer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden

from orchestrator.errors import UsageError
from orchestrator.training import components
from orchestrator.training.isolation import isolated, release
from orchestrator.training.precision import resolve_precision

Stage = Literal["validate", "test"]
_LOADERS = {"validate": "val_dataloader", "test": "test_dataloader"}
_STEPS = {"validate": "validation_step", "test": "test_step"}
_OF_TRAINER = ("accelerator", "precision", "deterministic", "benchmark")


class Evaluation:
    """A module with its data, ready for ``Trainer.validate`` or ``Trainer.test``.

    Args:
        model: ``{class_path, init_args}`` of the LightningModule.
        data: the same for the LightningDataModule; None where the module brings its own loaders.
        trainer: the arguments that it was trained with; of these precision and device count.

    Raises UsageError where the classes have no such step or loader: nothing has been evaluated then.
    """

    def __init__(
        self, stage: Stage, model: Mapping[str, Any], data: Mapping[str, Any] | None, trainer: Mapping[str, Any]
    ) -> None:
        self._stage: Stage = stage
        with isolated():
            self._model: Any = components.build(dict(model))
            self._data: Any = components.build(dict(data)) if data else None
        self._trainer = {name: trainer[name] for name in _OF_TRAINER if trainer.get(name) is not None}
        self._check()

    def run(self, checkpoint: Path, seed: int) -> dict[str, float]:
        """The metrics that the module logs. ``checkpoint`` is loaded without executing anything in it."""
        with isolated():
            L.seed_everything(seed, verbose=False)
            wanted: dict[str, Any] = {"accelerator": "auto", "precision": "auto", "devices": 1, **self._trainer}
            wanted["precision"] = resolve_precision(wanted["precision"], wanted["accelerator"])
            for feature in ("progress_bar", "model_summary", "checkpointing"):
                wanted[f"enable_{feature}"] = False
            trainer = L.Trainer(**wanted, logger=False)
            evaluate = trainer.validate if self._stage == "validate" else trainer.test
            try:
                found = evaluate(
                    self._model, datamodule=self._data, ckpt_path=checkpoint, verbose=False, weights_only=True
                )
            finally:
                release(trainer)
        return {name: float(value) for part in found for name, value in part.items()}

    def _check(self) -> None:
        step, loader = _STEPS[self._stage], _LOADERS[self._stage]
        source = self._data if self._data is not None else self._model
        parent = L.LightningDataModule if self._data is not None else L.LightningModule
        for owner, method, base in ((self._model, step, L.LightningModule), (source, loader, parent)):
            if not is_overridden(method, owner, base):
                raise UsageError(f"{type(owner).__name__} has no {method}", hint=f"define it to {self._stage}")
