"""One evaluation of a checkpoint by a real ``lightning.Trainer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng

from orchestrator.errors import SweepError, UsageError
from orchestrator.training import class_loading
from orchestrator.training.precision import resolve_precision
from orchestrator.training.process_state import isolated, release

Stage = Literal["validate", "test"]
_LOADERS = {"validate": "val_dataloader", "test": "test_dataloader"}
_STEPS = {"validate": "validation_step", "test": "test_step"}
_LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches"}
_QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class Evaluation:
    """A module and its data, to be evaluated by ``Trainer.validate`` or ``Trainer.test``.

    Args:
        model: ``{class_path, init_args}`` of the LightningModule.
        data: the same for the LightningDataModule; None where the module brings its own loaders.
        trainer: the arguments that it was trained with; precision, accelerator and the stage's batch limit count.
        seed: the trial's. Both are built under it, in training's order, so a split that hangs on it comes out the same.

    Raises UsageError where a class cannot be built or has no such step or loader: nothing has been evaluated then.
    """

    def __init__(
        self,
        stage: Stage,
        model: Mapping[str, Any],
        data: Mapping[str, Any] | None,
        trainer: Mapping[str, Any],
        seed: int,
    ) -> None:
        self._stage: Stage = stage
        self._described, self._seed = (model, data), seed
        kept = ("accelerator", "precision", _LIMITS[stage])
        self._trainer = {name: trainer[name] for name in kept if trainer.get(name) is not None}
        with isolated(), isolate_rng():
            self._check(*self._build())

    def run(self, checkpoint: Path) -> dict[str, float]:
        """The metrics that the module logs, with the weights of ``checkpoint``; nothing in it is executed.

        Raises UsageError for whatever the user's module or data raise.
        """
        with isolated(), isolate_rng():
            model, data = self._build()
            wanted: dict[str, Any] = {"accelerator": "auto", "precision": "auto", "devices": 1, **self._trainer}
            wanted["precision"] = resolve_precision(wanted["precision"], wanted["accelerator"])
            wanted |= dict.fromkeys(_QUIET, False)
            trainer = L.Trainer(**wanted)
            evaluate = trainer.validate if self._stage == "validate" else trainer.test
            try:
                found = evaluate(model, datamodule=data, ckpt_path=checkpoint, verbose=False, weights_only=True)
            except SweepError:
                raise
            except Exception as error:
                hint = "if the data lie elsewhere now, their place is an argument of the DataModule"
                said = f"{type(error).__name__}: {error}"
                raise UsageError(f"Trainer.{self._stage} failed: {said}", hint=hint) from error
            finally:
                release(trainer)
        return {name: float(value) for part in found for name, value in part.items()}

    def _build(self) -> tuple[Any, Any]:
        L.seed_everything(self._seed, verbose=False)
        model, data = self._described
        return _built(model), _built(data) if data else None

    def _check(self, model: Any, data: Any) -> None:
        source, parent = (model, L.LightningModule) if data is None else (data, L.LightningDataModule)
        if not isinstance(source, parent):
            raise UsageError(f"{type(source).__name__} is not a {parent.__name__}")
        for owner, method, base in (
            (model, _STEPS[self._stage], L.LightningModule),
            (source, _LOADERS[self._stage], parent),
        ):
            if not is_overridden(method, owner, base):
                raise UsageError(f"{type(owner).__name__} has no {method}", hint=f"define it to {self._stage}")


def _built(described: Mapping[str, Any]) -> Any:
    with class_loading.refusing(described["class_path"]):
        return class_loading.build(described)
