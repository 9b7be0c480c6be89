"""The strict reporting callback: an epoch is told once its metrics are floats and its checkpoint is on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from torch import Tensor

from orchestrator.durable_files import fingerprint
from orchestrator.errors import ObjectiveError, UsageError
from orchestrator.training import shared_storage
from orchestrator.training.checkpoints import DurableCheckpointIO, checkpoint_name
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.heartbeat import Progress
from orchestrator.training.job import Checkpoint, Job, Report
from orchestrator.training.process_group import mean_of_ranks

_KEY = "orchestrator"  # our entry in the checkpoint


class Reporting(CheckpointCallback):
    """Saves, then reports, each epoch that has a fresh objective; stops the trainer where the answer is False.

    Lightning calls ``Checkpoint`` callbacks last, so what the module and the other callbacks log is there, and their
    state is in the checkpoint. Nothing that matters happens after the report, for a scheduler may end the segment
    inside it by ``SystemExit``, which passes through.

    Raises ObjectiveError where an epoch was validated and the module did not log the objective.
    """

    def __init__(
        self,
        job: Job,
        report: Callable[[Report], bool],
        *,
        writer: DurableCheckpointIO,
        table: EpochCSVLogger,
        progress: Progress,
    ) -> None:
        self._job = job
        self._report = report
        self._writer = writer
        self._table = table
        self._plateau: dict[int, float] = {}
        self._last: Tensor | None = None
        self._validated = False
        self._reported = job.checkpoint is not None  # which was saved to be reported
        self._progress = progress

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for index, value in self._plateau.items():
            pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[index].scheduler, value)
        self._plateau = {}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = False

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._progress.made()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._progress.made()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.strategy.broadcast(self._has_fresh_objective(trainer)):
            return
        epoch = trainer.current_epoch + 1
        metrics = mean_of_ranks(trainer, as_floats(trainer.callback_metrics))
        if missing := [name for name in self._job.required if name not in metrics]:
            raise self._missing(trainer, missing[0], "objective.also` or `constraints")
        self._plateau = _plateau_values(trainer, metrics)
        checkpoint = self._save(trainer, epoch)
        self._plateau = {}
        if trainer.is_global_zero:
            self._write_table(trainer, metrics)
        self._reported = True
        if not self._answer(trainer, Report(epoch, metrics, checkpoint)):
            _stop(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._reported:
            raise self._missing(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave our state beside the callbacks' own, where a plain Trainer passes over it in silence."""
        checkpoint[_KEY] = {"trial": self._job.trial, "plateau": self._plateau, "stopped": trainer.should_stop}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up our state. What the user's callbacks ended (early stopping, say) does not go on for an epoch more.

        Lightning keeps no record of that. Another trial's end is not ours.
        """
        state = checkpoint.get(_KEY) or {}
        self._plateau = state.get("plateau") or {}
        if state.get("stopped") and state.get("trial") == self._job.trial:
            trainer.should_stop = True

    def _has_fresh_objective(self, trainer: L.Trainer) -> bool:
        """Whether this epoch logged the objective. An epoch without validation still holds the last one's value."""
        value = trainer.callback_metrics.get(self._job.metric)
        if value is None:
            if self._validated or not trainer.enable_validation:
                raise self._missing(trainer)
            return False
        fresh = value is not self._last
        self._last = value
        return fresh

    def _missing(self, trainer: L.Trainer, metric: str = "", field: str = "objective.metric") -> ObjectiveError:
        names, metric = sorted(trainer.callback_metrics), metric or self._job.metric
        logged = f"it logs {', '.join(names)}" if names else "it logs nothing at the end of an epoch"
        validated = "" if self._validated or not trainer.enable_validation else ", and no validation has run"
        return ObjectiveError(
            f"{type(trainer.lightning_module).__name__} never logged {metric!r}: {logged}{validated}",
            hint=f"set `{field}` to one of these, or log it with self.log() in validation_step",
        )

    def _save(self, trainer: L.Trainer, epoch: int) -> Checkpoint | None:
        path = self._job.checkpoints / checkpoint_name(epoch, self._job.segment)
        trainer.save_checkpoint(path, weights_only=False)
        if not trainer.is_global_zero:
            return None  # rank 0 wrote it, perhaps where this process cannot see it
        if path.is_dir():
            raise UsageError(
                f"{type(trainer.strategy).__name__} writes a checkpoint as a folder, and a trial's is one file",
                hint="let it write one: `state_dict_type: full` for FSDP, `save_distributed_checkpoint: false`",
            )
        # A strategy that does its own writing passes our writer by; then the file is what there is to measure.
        size, digest = self._writer.written.pop(str(path)) if str(path) in self._writer.written else fingerprint(path)
        shared_storage.publish_checkpoint(self._job, path)
        return Checkpoint(path.relative_to(self._job.run_directory).as_posix(), size, digest, epoch)

    def _write_table(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        # Lightning logs the epoch's training metrics only after this hook, at the step that validation logged at.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
        self._table.log_metrics({"epoch": trainer.current_epoch, **metrics}, step)
        self._table.flush()
        if self._job.tracking:  # trackers tell of the epoch's steps, too, by this table
            shared_storage.publish(self._job, self._table.path)

    def _answer(self, trainer: L.Trainer, report: Report) -> bool:
        """The caller's answer, asked on one process and given to all."""
        answer = self._report(report) if trainer.is_global_zero else True
        return bool(trainer.strategy.broadcast(answer))


def as_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Scalars (tensors of one element on one device, or numbers) as floats, with one copy to the host for all."""
    tensors = {name: value for name, value in metrics.items() if isinstance(value, Tensor)}
    floats = {name: float(value) for name, value in metrics.items() if name not in tensors}
    if tensors:
        scalars = [value.detach().reshape(()) for value in tensors.values()]
        wide = torch.float64 if any(value.dtype == torch.float64 for value in scalars) else torch.float32
        floats |= zip(tensors, torch.stack([value.to(wide) for value in scalars]).tolist(), strict=True)
    return {name: floats[name] for name in metrics}


def _plateau_values(trainer: L.Trainer, metrics: Mapping[str, float]) -> dict[int, float]:
    """What each plateau scheduler will be stepped with after this epoch's hooks, by its index.

    Lightning steps them after the last hook of the epoch, so the checkpoint has them one step behind; a segment that
    goes on from it takes that step first.
    """
    if not trainer.lightning_module.automatic_optimization:
        return {}
    return {
        index: metrics[str(config.monitor)]
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
        and config.monitor in metrics
    }


def _stop(trainer: L.Trainer) -> None:
    """End the training after this epoch, whatever ``min_epochs`` and ``min_steps`` say: a scheduler's word is final."""
    trainer.fit_loop.min_epochs = 0
    trainer.fit_loop.epoch_loop.min_steps = None
    trainer.should_stop = True
