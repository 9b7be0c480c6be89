"""Evaluate a checkpoint by ``Trainer.validate`` or ``Trainer.test``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng

from orchestrator.errors import SweepError, UsageError, describe
from orchestrator.training.checkpoints import DurableCheckpointIO
from orchestrator.training.class_loading import constructor_errors
from orchestrator.training.compat_lightning import refuse_stop_iteration
from orchestrator.training.host_lock import lock_prepare_data
from orchestrator.training.precision import resolve_precision
from orchestrator.training.process_state import isolated, release
from orchestrator.training.trained_parts import build_parts

Stage = Literal["validate", "test"]
_LOADERS = {"validate": "val_dataloader", "test": "test_dataloader"}
_STEPS = {"validate": "validation_step", "test": "test_step"}
_LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches"}
_QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class Evaluation:
    """A module and its data, to be evaluated by ``Trainer.validate`` or ``Trainer.test``.

    Args:
        stage: ``validate`` or ``test``.
        model: ``{class_path, init_args}`` of the LightningModule, or the function or script that fits it.
        data: the same for the LightningDataModule; None if the module has its own loaders.
        trainer: the arguments of training, of which precision, accelerator and the stage's batch limit are used.
        seed: the trial's. Module and data are built with it in the order of training, so a split that depends on it is
            the same.

    Raises:
        UsageError: a class cannot be built, or lacks the stage's step or loader. Nothing is evaluated then.
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
        self._specs, self._seed = (model, data), seed
        names = ("accelerator", "precision", _LIMITS[stage])
        self._trainer = {name: trainer[name] for name in names if trainer.get(name) is not None}
        with isolated(), isolate_rng():
            self._check(*self._build()[:2])

    def run(self, checkpoint: Path) -> dict[str, float]:
        """Return the metrics that the module logs with the weights of ``checkpoint``, loaded as weights only.

        Raises:
            UsageError: the user's module or data raised an error.
        """
        with isolated(), isolate_rng():
            model, data, own = self._build()
            for owner in (model, data):
                lock_prepare_data(owner)
            own = {name: own[name] for name in ("precision", _LIMITS[self._stage]) if name in own}
            arguments: dict[str, Any] = {"accelerator": "auto", "precision": "auto", "devices": 1}
            arguments |= {**own, **self._trainer}
            arguments["precision"] = resolve_precision(arguments["precision"], arguments["accelerator"])
            arguments |= {**dict.fromkeys(_QUIET, False), "plugins": [DurableCheckpointIO()]}
            trainer = L.Trainer(**arguments)
            refuse_stop_iteration(trainer)
            evaluate = trainer.validate if self._stage == "validate" else trainer.test
            try:
                results = evaluate(model, datamodule=data, ckpt_path=checkpoint, verbose=False, weights_only=True)
            except SweepError:
                raise
            except (Exception, SystemExit) as error:
                message = f"Trainer.{self._stage} failed: {describe(error)}"
                raise UsageError(message, hint="if the data have moved, change the DataModule's argument") from error
            finally:
                release(trainer)
        return {name: float(value) for result in results for name, value in result.items()}

    def _build(self) -> tuple[Any, Any, dict[str, Any]]:
        L.seed_everything(self._seed, verbose=False)
        return build_parts(*self._specs, constructor_errors, "test" if self._stage == "test" else "fit")

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
