"""Report each validation, once its metrics are floats and its checkpoint is on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from orchestrator.errors import ObjectiveError, ProgressError
from orchestrator.training import compat_lightning as compat
from orchestrator.training import shared_storage
from orchestrator.training.checkpoint_saver import CheckpointSaver, epochs_trained
from orchestrator.training.checkpoints import DurableCheckpointIO
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.exact_resume import ExactResume
from orchestrator.training.finders import Finders
from orchestrator.training.fresh_metrics import FreshMetrics, as_floats
from orchestrator.training.interim_saves import InterimSaves
from orchestrator.training.job import Interim, Job, Report
from orchestrator.training.mid_epoch import MidEpochState
from orchestrator.training.process_group import mean_of_ranks
from orchestrator.training.progress_meter import ProgressMeter
from orchestrator.training.report_interval import ReportInterval
from orchestrator.training.shared_storage import Heartbeat
from orchestrator.training.training_end import TrainingEnd, stop, time_is_up

_KEY = "orchestrator"  # of this callback's state in the checkpoint


class ReportCallback(CheckpointCallback):
    """Saves, then reports, each validation that logged the objective; stops the trainer if ``report`` returns False.

    A validation within an epoch is reported between its batch and the next one. One after the epoch's last batch is
    reported with the epoch, so that the metrics of the whole epoch are in it; so is an epoch without a validation,
    if it logged the objective.

    Lightning calls ``Checkpoint`` callbacks last, so the metrics of the module and of the other callbacks are complete,
    and the callbacks' state is in the checkpoint. The report is the last thing done at that place, since a scheduler
    may end the segment in it by ``SystemExit``, which passes through.

    Raises:
        ObjectiveError: the training ended, and nothing has ever logged the objective.
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
        meter: ProgressMeter,
        interim: Callable[[Interim], None] | None = None,
        saves: InterimSaves | None = None,
        requires_report: bool = True,
    ) -> None:
        self._job, self._requires_report = job, requires_report
        self._report = report
        self._interim, self._saves = interim, saves
        self._table = table
        self._heartbeat, self._finders, self._meter = heartbeat, finders, meter
        self._saver = CheckpointSaver(job, writer)
        self._metrics = FreshMetrics()
        self._interval = ReportInterval(job)
        self._end = TrainingEnd(job)
        self._plateau: list[dict[int, Tensor]] = []  # of each rank
        self._known: dict[str, Tensor] = {}  # the metrics of the checkpoint
        self._gradients: dict[str, Tensor] = {}  # of the checkpoint
        self._since_validation: float | None = None  # at the checkpoint, in seconds
        self._carried: dict[str, float] = {}  # the last values of what each report must hold beside the objective
        self._read: dict[str, Any] = {}  # steps, samples and seconds at the checkpoint that is being saved
        self._within: list[Any] | None = None  # each rank's state for the checkpoint that is being saved
        self._validated = self._ever_validated = False  # since the last batch; in this segment
        self._stopped = False  # asked to end
        self._saving = 0.0  # seconds that the last checkpoint took
        self._unreported = 0  # validations since the last report, which had not logged the objective
        self._reported_at = -1  # the batch after which the last report was made, over all epochs
        self._reported = job.checkpoint is not None  # each checkpoint was saved for a report
        self._epoch = int(job.checkpoint["epoch"]) if job.checkpoint else 0  # the last whole one that was trained
        self._mid_epoch: MidEpochState | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Watch the loops."""
        self._mid_epoch = MidEpochState(trainer)
        compat.refuse_stop_iteration(trainer)
        compat.around_batches(
            trainer,
            first=lambda: self._before_first_batch(trainer),
            after_each=lambda: self._after_batch(trainer),
            validates=lambda: self._validates_end(trainer),
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore what Lightning does not: metrics, gradients, and the plateau schedulers' last step."""
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._known.items()})
        for name, parameter in pl_module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        own = self._plateau[trainer.global_rank % len(self._plateau)] if self._plateau else {}
        for index, value in own.items():
            compat.step_plateau(trainer, trainer.lr_scheduler_configs[index].scheduler, value)
        compat.set_seconds_since_validation(trainer, self._since_validation)
        self._plateau, self._known, self._gradients, self._since_validation = [], {}, {}, None
        self._metrics.begin(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Regard what earlier epochs logged as old."""
        self._metrics.begin(trainer)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Send a heartbeat, if one is due."""
        self._heartbeat.beat()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Send a heartbeat, if one is due."""
        self._heartbeat.beat()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what is logged before this validation."""
        self._metrics.begin_validation(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what this validation has logged."""
        if not trainer.sanity_checking:
            self._validated = self._ever_validated = True
            self._metrics.end_validation(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save and report the epoch, if it logged the objective since the last report."""
        self._check_progress(trainer)
        self._validated = False
        if compat.epoch_is_complete(trainer):
            self._epoch += 1
        elif trainer.fit_loop.total_batch_idx == self._reported_at:
            return  # the epoch was cut short where it was reported
        if self._logged(trainer, self._metrics.values(trainer)):
            self._save_and_report(trainer, at_epoch_end=True)
        else:
            self._unreported += 1
        self._save_between_reports(trainer, at_epoch_end=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise ObjectiveError if nothing was reported, unless the segment was asked to end before that."""
        if self._requires_report and not self._reported and not self._stopped:
            raise self._missing(trainer) if trainer.fit_loop.total_batch_idx >= 0 else _nothing_trained(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise ObjectiveError if Lightning left the training out, and nothing was ever reported."""
        if self._requires_report and not self._reported and not self._stopped:
            raise _nothing_trained(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add this callback's state under a key of its own, which a plain Trainer ignores."""
        checkpoint[_KEY] = {
            "trial": self._job.trial,
            "plateau": self._plateau,
            "stopped": trainer.should_stop and not self._end.reached and not time_is_up(trainer),
            "metrics": dict(trainer.callback_metrics),
            "gradients": _gradients(trainer, pl_module),
            "validation": [compat.validation_loaded_at(trainer), compat.seconds_since_validation(trainer)],
        }
        if self._within is not None:
            counts = self._meter.state(self._read)
            checkpoint[_KEY] |= {"ranks": self._within, "counts": counts, "carried": self._carried}
            checkpoint[_KEY] |= {"interval": self._interval.state(), "unreported": self._unreported}
            checkpoint[_KEY] |= {"progress": self._interval.progress(trainer, self._meter)}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore this callback's state, and the stop that a user's callback (early stopping, for example) requested.

        Lightning does not record such a stop, and would train another epoch. In a checkpoint of another trial it is
        ignored, and so are the metrics.
        """
        state = checkpoint.get(_KEY) or {}
        plateau = state.get("plateau") or []
        ranks = [plateau] if isinstance(plateau, dict) else plateau  # as earlier versions have it: that of rank 0
        self._plateau = [{index: torch.as_tensor(value) for index, value in own.items()} for own in ranks]
        self._gradients = state.get("gradients") or {}
        self._carried = dict(state.get("carried") or {})
        self._meter.load(state.get("counts") or {})
        self._interval.load(state.get("interval") or {})
        self._unreported = int(state.get("unreported") or 0)
        if self._mid_epoch is not None:
            self._mid_epoch.start_from(state.get("ranks") or [])
        loaded_at, self._since_validation = state.get("validation") or (None, None)
        if loaded_at is not None:
            compat.load_validation_as_at(trainer, loaded_at)
        if state.get("trial") == self._job.trial:
            self._known = state.get("metrics") or {}
            trainer.should_stop |= bool(state.get("stopped"))
            self._end.resume(trainer, state.get("progress") or 0.0)

    def _before_first_batch(self, trainer: L.Trainer) -> None:
        if self._mid_epoch is None or not self._is_called_by(trainer):
            return
        if self._mid_epoch.continues:  # Lightning does not call the hooks of the epoch's start
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, ExactResume):
                    callback.resume_within_epoch(trainer, trainer.lightning_module)
        self._mid_epoch.restore()
        if self._saves is not None:
            self._saves.begin(lambda: self._interval.progress(trainer, self._meter))

    def _validates_end(self, trainer: L.Trainer) -> bool:
        """Return whether the job's end is after this batch, which then is validated, so that the end has a report.

        Lightning validates where a callback ends the training, and not at its own limits. Where the job names no end
        these stay as they are, so that a trial is what a plain Trainer does.
        """
        if not self._is_called_by(trainer):
            return False
        ends = self._end.is_here(trainer, lambda: self._interval.progress(trainer, self._meter))
        has_place = compat.epoch_is_complete(trainer) or self._interval.has_place(trainer)
        return ends and has_place and bool(trainer.enable_validation)

    def _after_batch(self, trainer: L.Trainer) -> None:
        """Report between two batches, if the batch was validated or, without validation, if a report is due."""
        if not self._is_called_by(trainer) or compat.epoch_is_complete(trainer):
            return
        if self._validated:
            self._validated = False
            if self._logged(trainer, self._metrics.validated):
                self._interval.check_place(trainer)
                self._save_and_report(trainer, at_epoch_end=False)
            else:
                self._unreported += 1
            self._metrics.begin(trainer)
        else:
            self._report_if_due(trainer)
        self._save_between_reports(trainer, at_epoch_end=False)

    def _report_if_due(self, trainer: L.Trainer) -> None:
        due = not trainer.enable_validation and self._interval.is_due(trainer, self._meter)
        if due and self._logged(trainer, self._metrics.values(trainer)):
            self._save_and_report(trainer, at_epoch_end=False)
            self._metrics.begin(trainer)

    def _is_called_by(self, trainer: L.Trainer) -> bool:
        """Return whether this is the training itself: a finder trains without the Trainer's callbacks."""
        return self in trainer.callbacks  # type: ignore[attr-defined]

    def _logged(self, trainer: L.Trainer, names: Any) -> bool:
        """Return, the same on all ranks, whether rank 0 has logged the objective and all else that a report holds."""
        required = [name for name in self._job.required if name not in trainer.callback_metrics]
        logged = self._job.metric in names and not [name for name in required if name not in self._carried]
        return bool(trainer.strategy.broadcast(logged))

    def _save_and_report(self, trainer: L.Trainer, *, at_epoch_end: bool) -> None:
        if not at_epoch_end:
            self._check_progress(trainer)
        with self._meter.paused():
            epoch = epochs_trained(trainer)
            metrics = mean_of_ranks(trainer, as_floats(self._of_this_moment(trainer)))
            self._carried = {name: metrics[name] for name in self._job.required}
            self._read = self._meter.read(trainer)
            counters = self._interval.counters(metrics, trainer)
            unreported, self._unreported = self._unreported, 0
            checkpoint = self._save(trainer, epoch, at_epoch_end=at_epoch_end)
            if trainer.is_global_zero:
                self._write_table(trainer, metrics)
            self._reported, self._reported_at = True, trainer.fit_loop.total_batch_idx
            found = dict(self._finders.found)
            fields: dict[str, Any] = {"counters": counters, "unreported": unreported, "saving": self._saving}
            report = Report(epoch, metrics, checkpoint, found, **self._read, **fields)
            is_continued = self._report_once(trainer, report)
        if not is_continued:
            self._stop(trainer, at_epoch_end=at_epoch_end)

    def _save_between_reports(self, trainer: L.Trainer, *, at_epoch_end: bool) -> None:
        """Save a checkpoint if one is due or a stop is requested, unless a report has saved one at this place."""
        if self._saves is None:
            return
        save, is_to_stop = self._saves.decide(trainer, lambda: self._interval.progress(trainer, self._meter))
        if save and self._saves_here and self._interim and self._reported_at != trainer.fit_loop.total_batch_idx:
            with self._meter.paused():
                self._read = self._meter.read(trainer)
                epoch = epochs_trained(trainer)
                checkpoint = self._save(trainer, epoch, at_epoch_end=at_epoch_end)
                counters = self._interval.known_counters(trainer)
                if trainer.is_global_zero:
                    fields: dict[str, Any] = {
                        "counters": counters,
                        "unreported": self._unreported,
                        "saving": self._saving,
                    }
                    self._interim(Interim(epoch, checkpoint, **self._read, **fields))
        if is_to_stop:
            self._stop(trainer, at_epoch_end=at_epoch_end)

    @property
    def _saves_here(self) -> bool:
        """Whether this fit may be the trial's training: if code validates without the objective, it reports later."""
        return self._requires_report or self._reported or not self._unreported

    def _stop(self, trainer: L.Trainer, *, at_epoch_end: bool) -> None:
        """End the segment here. An epoch that it leaves has not ended: a user's hooks would act on a part of it."""
        self._stopped = True
        stop(trainer)
        if not at_epoch_end:
            compat.leave_fit()

    def _save(self, trainer: L.Trainer, epoch: float, *, at_epoch_end: bool) -> Any:
        assert self._mid_epoch is not None
        begun = time.perf_counter()
        self._within = self._mid_epoch.state(whole_epoch=compat.epoch_is_complete(trainer))
        self._plateau = _plateau_values(trainer)
        try:
            return self._saver.save(trainer, epoch, at_epoch_end=at_epoch_end)
        finally:
            self._within, self._plateau = None, []
            if self._saves is not None:
                self._saving = time.perf_counter() - begun
                self._saves.saved(self._saving, lambda: self._interval.progress(trainer, self._meter))

    def _of_this_moment(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return the fresh metrics, and the last value of those that each report must hold."""
        fresh, all_known = self._metrics.values(trainer), {**self._carried, **trainer.callback_metrics}
        return {name: all_known[name] for name in self._job.required if name in all_known} | fresh

    def _check_progress(self, trainer: L.Trainer) -> None:
        """Raise ProgressError unless this is the epoch after the last one that was trained."""
        if trainer.current_epoch != self._epoch:
            raise ProgressError(
                f"the segment trained epoch {trainer.current_epoch + 1} where epoch {self._epoch + 1} comes next: "
                "something moved the Trainer",
                hint="what trains in on_fit_start does so again in a resumed segment; only Lightning's finders "
                "and their subclasses run once, so derive it from one of them, or tune once and set the result",
            )

    def _missing(self, trainer: L.Trainer) -> ObjectiveError:
        known = trainer.callback_metrics
        metric, field = self._job.metric, "objective.metric"
        if metric in known:
            metric = next((name for name in self._job.required if name not in known), metric)
            field = "objective.also` or `constraints"
        names = sorted(known)
        logged = f"it logs {', '.join(names)}" if names else "it logs nothing at the end of an epoch"
        validated = "" if self._ever_validated or not trainer.enable_validation else ", and no validation has run"
        log = "log it with self.log() in validation_step"
        if not trainer.enable_validation:
            log = "log it in training_step: no validation runs, by limit_val_batches or for want of validation data"
        elif validated:
            log = "let a validation come before the end: see check_val_every_n_epoch and val_check_interval"
        return ObjectiveError(
            f"{type(trainer.lightning_module).__name__} never logged {metric!r}: {logged}{validated}",
            hint=f"set `{field}` to one of these, or {log}" if names else log,
        )

    def _write_table(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        # Lightning logs the epoch's training metrics only after this hook, at the step that validation logged at.
        self._table.log_metrics({"epoch": trainer.current_epoch, **metrics}, compat.logged_step(trainer))
        self._table.flush()
        if self._job.tracking:  # trackers read the epoch's steps from this table
            shared_storage.publish(self._job, self._table.path)

    def _report_once(self, trainer: L.Trainer, report: Report) -> bool:
        """Report on rank 0; return on all ranks whether to continue."""
        is_continued = self._report(report) if trainer.is_global_zero else True
        return bool(trainer.strategy.broadcast(is_continued))


def _gradients(trainer: L.Trainer, module: L.LightningModule) -> dict[str, Tensor]:
    """Return the gradients that manual optimization has left for later batches; with several processes those of DDP.

    Lightning clears them before a validation. By automatic optimization none is left. DDP has averaged them, so they
    are the same in all processes; where weights are shared out, each process has others.
    """
    if module.automatic_optimization or not (trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)):
        return {}
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def _plateau_values(trainer: L.Trainer) -> list[dict[int, Tensor]]:
    """Return by rank the value with which each plateau scheduler is stepped after this epoch's hooks, by its index.

    Lightning steps them after the last hook of the epoch, so the checkpoint has them one step behind. A segment that
    resumes from it takes that step first. Each rank steps by the value that it has logged, which may be an earlier one.
    """
    if not trainer.lightning_module.automatic_optimization or not compat.steps_epoch_schedulers(trainer):
        return []
    due = {
        index: str(config.monitor)
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
    }
    if not due:
        return []
    metrics = trainer.callback_metrics
    own = {index: metrics[name].detach().cpu() for index, name in due.items() if name in metrics}
    ranks: list[Any] = [own]
    if trainer.world_size > 1:
        ranks *= trainer.world_size
        dist.all_gather_object(ranks, own)
    return ranks


def _nothing_trained(trainer: L.Trainer) -> ObjectiveError:
    if trainer.num_training_batches == 0:
        hint = "check the path of the data, that drop_last leaves one batch, and limit_train_batches"
        return ObjectiveError("nothing was trained: the training data have no batch", hint=hint)
    hint = "check max_epochs, max_steps and max_time, and that no callback stops the Trainer at its start"
    return ObjectiveError("nothing was trained: the training ended before its first batch", hint=hint)
