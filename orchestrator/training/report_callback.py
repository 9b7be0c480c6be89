"""Report each epoch, once its metrics are floats and its checkpoint is on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from torch import Tensor

from orchestrator.durable_files import fingerprint
from orchestrator.errors import ObjectiveError, ProgressError, UsageError
from orchestrator.training import shared_storage
from orchestrator.training.checkpoints import DurableCheckpointIO, checkpoint_name
from orchestrator.training.compat_lightning import logged_step, step_plateau
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.finders import Finders
from orchestrator.training.job import Checkpoint, Job, Report
from orchestrator.training.process_group import mean_of_ranks
from orchestrator.training.shared_storage import Heartbeat

_KEY = "orchestrator"  # of this callback's state in the checkpoint


class ReportCallback(CheckpointCallback):
    """Saves, then reports, each epoch that logged the objective; stops the trainer if ``report`` returns False.

    Lightning calls ``Checkpoint`` callbacks last, so the metrics of the module and of the other callbacks are complete,
    and the callbacks' state is in the checkpoint. The report is the last thing done in an epoch, since a scheduler may
    end the segment in it by ``SystemExit``, which passes through.

    Raises:
        ObjectiveError: an epoch was validated, and the module did not log the objective.
        ProgressError: the epoch that ended is not the one after the epoch before, or after the checkpoint.
    """

    def __init__(
        self,
        job: Job,
        report: Callable[[Report], bool],
        *,
        writer: DurableCheckpointIO,
        table: EpochCSVLogger,
        heartbeat: Heartbeat,
        finders: Finders,
    ) -> None:
        self._job = job
        self._report = report
        self._writer = writer
        self._table = table
        self._plateau: dict[int, Tensor] = {}
        self._metrics: dict[str, Tensor] = {}  # of the checkpoint
        self._gradients: dict[str, Tensor] = {}  # of the checkpoint
        self._last: Tensor | None = None
        self._validated = False
        self._reported = job.checkpoint is not None  # each checkpoint was saved for a report
        self._heartbeat, self._finders = heartbeat, finders
        self._epoch = int(job.checkpoint["epoch"]) if job.checkpoint else 0  # the last one that was trained

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore what Lightning does not: metrics, gradients, and the plateau schedulers' last step."""
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._metrics.items()})
        self._last = trainer.callback_metrics.get(self._job.metric)
        for name, parameter in pl_module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        for index, value in self._plateau.items():
            step_plateau(trainer, trainer.lr_scheduler_configs[index].scheduler, value)
        self._plateau, self._metrics, self._gradients = {}, {}, {}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that this epoch is not validated yet."""
        self._validated = False

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Send a heartbeat, if one is due."""
        self._heartbeat.beat()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Send a heartbeat, if one is due."""
        self._heartbeat.beat()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that this epoch is validated."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save and report the epoch, if it logged the objective."""
        self._check_progress(trainer)
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
        if not self._report_once(
            trainer, Report(epoch, metrics, checkpoint, dict(self._finders.found), trainer.global_step)
        ):
            _stop(trainer)

    def _check_progress(self, trainer: L.Trainer) -> None:
        """Raise ProgressError unless this is the epoch after the last one that was trained."""
        epoch, self._epoch = trainer.current_epoch + 1, self._epoch + 1
        if epoch != self._epoch:
            raise ProgressError(
                f"the segment trained epoch {epoch} where epoch {self._epoch} comes next: something moved the Trainer",
                hint="what trains in on_fit_start does so again in a resumed segment; only Lightning's finders "
                "and their subclasses run once, so derive it from one of them, or tune once and set the result",
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise ObjectiveError if no epoch was reported."""
        if not self._reported:
            raise self._missing(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add this callback's state under a key of its own, which a plain Trainer ignores."""
        checkpoint[_KEY] = {
            "trial": self._job.trial,
            "plateau": self._plateau,
            "stopped": trainer.should_stop,
            "metrics": dict(trainer.callback_metrics),
            "gradients": _gradients(pl_module) if trainer.world_size == 1 else {},
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore this callback's state, and the stop that a user's callback (early stopping, for example) requested.

        Lightning does not record such a stop, and would train another epoch. In a checkpoint of another trial it is
        ignored, and so are the metrics.
        """
        state = checkpoint.get(_KEY) or {}
        self._plateau = {index: torch.as_tensor(value) for index, value in (state.get("plateau") or {}).items()}
        self._gradients = state.get("gradients") or {}
        if state.get("trial") == self._job.trial:
            self._metrics = state.get("metrics") or {}
            trainer.should_stop |= bool(state.get("stopped"))

    def _has_fresh_objective(self, trainer: L.Trainer) -> bool:
        """Return whether this epoch logged the objective; without validation, the last epoch's value is still there."""
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
            return None  # rank 0 wrote it, perhaps to a disk that this process does not share
        if path.is_dir():
            raise UsageError(
                f"{type(trainer.strategy).__name__} writes a checkpoint as a folder, but a trial's must be one file",
                hint="set `state_dict_type: full` for FSDP, or `save_distributed_checkpoint: false`",
            )
        # A strategy that writes the file itself bypasses the writer; then the file itself is hashed.
        size, digest = self._writer.written.pop(str(path)) if str(path) in self._writer.written else fingerprint(path)
        shared_storage.publish_checkpoint(self._job, path)
        return Checkpoint(path.relative_to(self._job.run_directory).as_posix(), size, digest, epoch)

    def _write_table(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        # Lightning logs the epoch's training metrics only after this hook, at the step that validation logged at.
        self._table.log_metrics({"epoch": trainer.current_epoch, **metrics}, logged_step(trainer))
        self._table.flush()
        if self._job.tracking:  # trackers read the epoch's steps from this table
            shared_storage.publish(self._job, self._table.path)

    def _report_once(self, trainer: L.Trainer, report: Report) -> bool:
        """Report on rank 0; return on all ranks whether to continue."""
        is_continued = self._report(report) if trainer.is_global_zero else True
        return bool(trainer.strategy.broadcast(is_continued))


def as_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Convert scalars to floats, with one copy to the host for all tensors of a kind.

    ``metrics`` are numbers and tensors of one element, all on one device.
    """
    kinds: dict[torch.dtype, dict[str, Tensor]] = {}
    floats = {}
    for name, value in metrics.items():
        if isinstance(value, Tensor):
            kinds.setdefault(_wide(value), {})[name] = value.detach().reshape(())
        else:
            floats[name] = float(value)
    for dtype, tensors in kinds.items():
        numbers = torch.stack([value.to(dtype) for value in tensors.values()]).tolist()
        floats |= zip(tensors, map(float, numbers), strict=True)
    return {name: floats[name] for name in metrics}


def _wide(value: Tensor) -> torch.dtype:
    """Return a type that holds the number exactly. Not every device has floats of 64 bits."""
    if not value.is_floating_point():
        return torch.int64
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _gradients(module: L.LightningModule) -> dict[str, Tensor]:
    """Return the gradients that manual optimization has left for the next epoch.

    Lightning clears them before a validation. By automatic optimization none is left.
    """
    if module.automatic_optimization:
        return {}
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def _plateau_values(trainer: L.Trainer, metrics: Mapping[str, float]) -> dict[int, Tensor]:
    """Return the value with which each plateau scheduler is stepped after this epoch's hooks, by its index.

    Lightning steps them after the last hook of the epoch, so the checkpoint has them one step behind. A segment that
    resumes from it takes that step first.
    """
    if not trainer.lightning_module.automatic_optimization:
        return {}
    return {
        index: torch.tensor(metrics[str(config.monitor)], dtype=trainer.callback_metrics[str(config.monitor)].dtype)
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
        and config.monitor in metrics
    }


def _stop(trainer: L.Trainer) -> None:
    """End the training after this epoch: a scheduler's decision overrides ``min_epochs`` and ``min_steps``."""
    trainer.fit_loop.min_epochs = 0
    trainer.fit_loop.epoch_loop.min_steps = None
    trainer.should_stop = True
