"""``fit``: one segment of one trial, by a real Lightning Trainer, in whatever process it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import CheckpointIO

from orchestrator.training import class_loading, loggers, process_group, shared_storage
from orchestrator.training.checkpoints import DurableCheckpointIO, remove_leftovers, verify
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.heartbeat import Progress
from orchestrator.training.job import Checkpoint, Job, Report
from orchestrator.training.memory import keep_freed_memory
from orchestrator.training.optimizer_overrides import NewParams
from orchestrator.training.precision import resolve_precision
from orchestrator.training.process_state import entry_points_read_once, isolated, release
from orchestrator.training.report_callback import Reporting
from orchestrator.training.seeding import EpochSeed

DEFAULT_EPOCHS = 10


def fit(job: Job, report: Callable[[Report], bool], device: Mapping[str, Any] | None = None) -> None:
    """Train one segment; ``report`` each epoch after validation, its checkpoint durable; stop where that says False.

    The weights are those of ``seed_everything(job.seed)``, building model and data, and ``Trainer.fit`` with
    ``EpochSeed(job.seed)`` among the callbacks. From ``job.checkpoint`` it goes on as the unbroken run would have.
    ``device`` are Trainer arguments for the devices at hand: they stand before the job's, and plugins and callbacks
    beside them. Where several processes train together, each calls this; rank 0 writes, and its ``report`` is asked.

    Raises ObjectiveError where the module does not log the objective, CheckpointError where a checkpoint is not what
    it was, and whatever the user's classes, Lightning or ``report`` raise, ``SystemExit`` included. From a checkpoint
    at which training was complete it returns without a report.
    """
    start = None
    if job.checkpoint:
        shared_storage.fetch(job, job.checkpoint["path"])
        start = verify(job.run_directory, Checkpoint(**job.checkpoint))
    first = process_group.rank(job) == 0
    if first:
        remove_leftovers(job.checkpoints, job.segment)
    progress = shared_storage.progress(job)
    keep_freed_memory()
    with isolated(job.threads):
        L.seed_everything(job.seed, verbose=False)
        model: Any = class_loading.build(job.model)
        data: Any = class_loading.build(job.data) if job.data else None
        asked = loggers.start(job) if first else {}
        trainer = _trainer(job, report, progress, list(asked.values()), device or {})
        try:
            trainer.fit(model, datamodule=data, ckpt_path=start, weights_only=True)
        finally:
            release(trainer)
            loggers.finish(asked)
            process_group.part(job)


def _trainer(
    job: Job,
    report: Callable[[Report], bool],
    progress: Progress,
    asked: list[Logger],
    device: Mapping[str, Any],
) -> L.Trainer:
    wanted = {name: _built(value) for name, value in job.trainer.items()}
    table = EpochCSVLogger(job.logs)
    plugins = _as_list(wanted.pop("plugins", None))
    writer = next((plugin for plugin in plugins if isinstance(plugin, DurableCheckpointIO)), DurableCheckpointIO())
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(writer)
    callbacks = _as_list(wanted.pop("callbacks", None))
    reporting = Reporting(job, report, writer=writer, table=table, progress=progress)
    ours: list[L.Callback] = [EpochSeed(job.seed), reporting]
    if job.new_params:
        ours.insert(0, NewParams())
    user_loggers = [logger for logger in _as_list(wanted.pop("logger", None)) if isinstance(logger, Logger)]
    arguments = _defaults(wanted) | process_group.arguments(job) | wanted
    arguments |= device
    arguments["precision"] = resolve_precision(arguments["precision"], arguments["accelerator"])
    plugins += device.get("plugins", [])
    ours += device.get("callbacks", [])
    arguments |= {"callbacks": [*callbacks, *ours], "logger": [*asked, table, *user_loggers], "plugins": plugins}
    with entry_points_read_once():
        return L.Trainer(**arguments)


def _defaults(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a sweep wants where the user says nothing: one device, and nothing that prints or repeats work."""
    limited = any(wanted.get(name) is not None for name in ("max_steps", "max_time"))
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


def _built(value: Any) -> Any:
    """Objects for every ``{class_path, init_args}`` in a trainer argument."""
    if isinstance(value, dict) and "class_path" in value:
        return class_loading.build(value)
    return [_built(item) for item in value] if isinstance(value, list) else value


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
