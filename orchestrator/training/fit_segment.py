"""Train one segment of one trial by a Lightning Trainer, in the process that calls ``fit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import CheckpointIO

from orchestrator.training import class_loading, loggers, process_group, rendezvous, shared_storage
from orchestrator.training.checkpoints import DurableCheckpointIO, remove_leftovers, verify
from orchestrator.training.compat_lightning import cached_entry_points
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.doors import code_segment
from orchestrator.training.host_lock import lock_prepare_data
from orchestrator.training.interim_saves import InterimSaves
from orchestrator.training.job import Checkpoint, Interim, Job, Report
from orchestrator.training.live_writer import LiveWriter, live_writer
from orchestrator.training.memory import keep_freed_memory
from orchestrator.training.precision import note_default, resolve_precision
from orchestrator.training.process_state import isolated, release
from orchestrator.training.segment_callbacks import segment_callbacks
from orchestrator.training.shared_storage import Heartbeat, start_heartbeat
from orchestrator.training.trial_files import with_own_places

DEFAULT_EPOCHS = 10


def fit(
    job: Job,
    report: Callable[[Report], bool],
    device: Mapping[str, Any] | None = None,
    *,
    interim: Callable[[Interim], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train one segment, and report each validation, once its checkpoint is durable.

    The weights are those of ``seed_everything(job.seed)``, building model and data, and ``Trainer.fit`` with
    ``EpochSeed(job.seed)`` among the callbacks. A segment that starts from ``job.checkpoint`` continues as an
    uninterrupted run would have. From a checkpoint at which training was complete it returns without a report.

    Args:
        job: the segment. If several processes train it together, each calls this with the same job.
        report: called on rank 0 after each validation; training stops at the one for which it returns False.
        interim: called on rank 0 with each checkpoint between two reports, once it is durable; None saves none.
        stop: called on rank 0 after each batch; if it returns True, the segment saves a checkpoint and ends.
        device: Trainer arguments for the available devices. They override the job's; plugins and callbacks are added.

    Raises:
        ObjectiveError: the module does not log the objective.
        CheckpointError: the job's checkpoint is absent, or differs from what was written.

    Errors of the user's classes, of Lightning and of ``report`` pass through, ``SystemExit`` included.
    """
    start = None
    if job.checkpoint:
        shared_storage.fetch(job, job.checkpoint["path"])
        start = verify(job.run_directory, Checkpoint(**job.checkpoint))
    is_first = process_group.rank(job) == 0
    if is_first:
        remove_leftovers(job.checkpoints, job.segment)
    heartbeat = start_heartbeat(job)
    keep_freed_memory()
    with isolated(job.threads), loggers.own_wandb_run():
        if job.is_code:
            code_segment.run(
                job, report, device or {}, interim=interim, stop=stop, start=start, heartbeat=heartbeat
            )  # fmt: skip
            return
        L.seed_everything(job.seed, verbose=False)
        model, data = class_loading.build_parts(job.model, job.data)
        for owner in (model, data):
            lock_prepare_data(owner, heartbeat.beat)
        trackers = loggers.start(job) if is_first else {}
        reporting = {"report": report, "interim": interim, "saves": InterimSaves(stop, job.save_every)}
        live = live_writer(job, heartbeat) if is_first else None
        trainer = _trainer(job, reporting, heartbeat, list(trackers.values()), device or {}, live=live)
        try:
            with rendezvous.by_file():
                trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
        except Exception as error:
            if job.trainer.get("precision", "auto") == "auto":
                note_default(error, trainer.precision)
            raise
        finally:
            if live:
                live.end()
            release(trainer)
            loggers.finish(trackers)
            process_group.leave(job)


def _trainer(
    job: Job,
    reporting: Mapping[str, Any],
    heartbeat: Heartbeat,
    trackers: list[Logger],
    device: Mapping[str, Any],
    *,
    live: LiveWriter | None,
) -> L.Trainer:
    user = {
        name: class_loading.build_value(value, class_loading.component_kinds(L.Trainer, name))
        for name, value in with_own_places(job, job.trainer).items()
    }
    table = EpochCSVLogger(job.logs)
    plugins = _as_list(user.pop("plugins", None))
    writer = next((plugin for plugin in plugins if isinstance(plugin, DurableCheckpointIO)), DurableCheckpointIO())
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(writer)
    resumes = job.checkpoint is not None
    before, after = segment_callbacks(
        job, live, resumes=resumes, writer=writer, table=table, heartbeat=heartbeat, **reporting
    )
    own = [each for each in _as_list(user.pop("callbacks", None)) if not isinstance(each, ProgressBar)]
    callbacks = [*before, *own, *after]  # a Trainer whose progress bar is off refuses one
    user_loggers = [logger for logger in _as_list(user.pop("logger", None)) if isinstance(logger, Logger)]
    arguments = _defaults(user) | process_group.arguments(job) | user | {"default_root_dir": job.folder}
    if resumes:
        arguments["num_sanity_val_steps"] = 0  # which the trial's first segment has run
    arguments |= device
    arguments["precision"] = resolve_precision(arguments["precision"], arguments["accelerator"], job.precision)
    plugins += device.get("plugins", [])
    callbacks += device.get("callbacks", [])
    arguments |= {"callbacks": callbacks, "logger": [*user_loggers, *trackers, table], "plugins": plugins}
    with cached_entry_points():
        return L.Trainer(**arguments)


def _defaults(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sweep's defaults for the Trainer: one device, and nothing that prints or repeats work."""
    limited = any(user.get(name) is not None for name in ("max_steps", "max_time"))
    return {
        "accelerator": "auto",
        "devices": 1,
        "precision": "auto",
        "max_epochs": None if limited else DEFAULT_EPOCHS,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 50,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
