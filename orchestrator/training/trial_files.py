"""Keep what a user's callbacks, loggers and profiler write apart for each trial.

A sweep file or a module often names one folder for them: ``ModelCheckpoint(dirpath="ckpts")``. Under one Trainer that
is right; the trials of a sweep would write each other's files. So each trial has such a folder inside its own.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from orchestrator.spec.fixed_folders import FOLDER_ARGUMENTS
from orchestrator.training.class_loading.argument_types import signature
from orchestrator.training.class_loading.import_paths import import_object
from orchestrator.training.job import Job

FOLDER = "files"
"""The part of a trial's folder for the files of the user's own classes."""

log = logging.getLogger(__name__)


def own_place(job: Job, place: str | os.PathLike[str]) -> str:
    """Return where the trial keeps what would be written to ``place``, a folder or a URL."""
    text = os.fspath(place)
    if "://" in text:
        own = f"{job.run.name}/{job.trial:04d}"
        return text if own in text else f"{text.rstrip('/')}/{own}"
    folder, path = Path(job.folder).absolute(), Path(os.path.normpath(Path(text).expanduser().absolute()))
    if path.is_relative_to(folder) or path.resolve().is_relative_to(folder.resolve()):
        return str(path)
    return str(folder / FOLDER / path.relative_to(Path.cwd() if path.is_relative_to(Path.cwd()) else path.anchor))


def with_own_places(job: Job, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Trainer's arguments with the folders that its loggers and profiler write to moved into the trial's."""
    return {
        name: _moved(job, value, default=name == "logger") if name in ("logger", "profiler") else value
        for name, value in trainer.items()
    }


def _moved(job: Job, value: Any, *, default: bool) -> Any:
    """Return the objects described by ``value`` with their own places; with ``default``, without one written, too."""
    if isinstance(value, list):
        return [_moved(job, item, default=default) for item in value]
    if not isinstance(value, Mapping) or "class_path" not in value:
        return value
    arguments = dict(value.get("init_args") or {})
    taken = signature(import_object(value["class_path"])).arguments
    for name in FOLDER_ARGUMENTS:
        if isinstance(arguments.get(name), str) or (default and name in taken):
            arguments[name] = own_place(job, arguments.get(name) or ".")
    return {**value, "init_args": arguments}


class OwnFolder(L.Callback):
    """Moves the ``dirpath`` of every callback into the trial's folder, those that the module configures included.

    Lightning calls callbacks that save checkpoints last, so this comes before they use the path.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Replace the paths; the first segment of a sweep says so in its log.

        Later segments find the files of earlier ones there, so Lightning's warning of that tells nothing.
        """
        if self._job.segment > 0:
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            place: Any = getattr(callback, "dirpath", None)
            if place is None and isinstance(callback, L.pytorch.callbacks.ModelCheckpoint):
                callback.dirpath = str(Path(self._job.folder) / FOLDER / "checkpoints")
            elif isinstance(place, str | os.PathLike) and (own := own_place(self._job, place)) != str(place):
                callback.dirpath = own
                if self._job.trial == 0 and self._job.segment == 0:
                    log.warning("%s writes to %s instead of %s", type(callback).__name__, own, place)
