"""Copy a sweep into a storage of Optuna's own: a file of SQLite."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import optuna

from orchestrator.errors import UsageError
from orchestrator.optuna_studies.optuna_mirror import Study
from orchestrator.rundir import RunDirectory


def study_of(run: RunDirectory) -> optuna.Study:
    """Return a run as a study whose storage is its journal: it is read-only, and follows a running sweep.

    Raises:
        UsageError: There is no such run.
    """
    from orchestrator.optuna_studies.optuna_mirror import Sweeps
    from orchestrator.optuna_studies.optuna_storage import JournalStorage

    return optuna.load_study(study_name=run.name, storage=JournalStorage(Sweeps([run.where])))


def export_study(run: RunDirectory, path: str | Path) -> Path:
    """Write a run as an Optuna study into a new SQLite file and return its path.

    Trials keep their numbers. A trial that runs or waits is written as it is now; nothing continues it.

    Raises:
        UsageError: The file exists, or its folder does not.
    """
    file = Path(path).expanduser().absolute()
    if file.exists():
        raise UsageError(f"{file} exists", hint="name a new file, or remove it first")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}")
    study = Study(run, run.name, 0)
    study.refresh()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
            part = Path(folder, "study.db")
            _copy(study, f"sqlite:///{part}")
            os.link(part, file)
    except FileExistsError:
        raise UsageError(f"{file} exists", hint="name a new file, or remove it first") from None
    finally:
        optuna.logging.set_verbosity(verbosity)
    return file


def _copy(study: Study, url: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    try:
        copy = optuna.create_study(storage=storage, study_name=study.name, directions=study.directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            copy.set_metric_names(study.metrics)
        for name, value in study.attributes.items():
            copy.set_user_attr(name, value)
        copy.add_trials(study.trials)
    finally:
        storage.remove_session()
        storage.engine.dispose()
