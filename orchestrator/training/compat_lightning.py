"""Every private part of Lightning that this package uses, each behind one function.

Lightning has no public call for these. If a release renames one, the function here raises an error that names the
installed version and `LAST_TESTED`, and a canary in ``tests/test_compat_lightning.py`` fails with the same text.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.fabric.utilities import optimizer as optimizer_utilities
from lightning.fabric.utilities import registry
from lightning.pytorch.tuner import lr_finder

from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

LAST_TESTED = "2.6.6"
"""The last version of Lightning that these functions are tested with."""


def version_hint() -> str:
    """Return the installed version of Lightning and the last tested one, for an error's hint."""
    return f"lightning {L.__version__} is installed; the last version tested is {LAST_TESTED}"


def restart_data_fetcher(trainer: L.Trainer) -> None:
    """Start the training loader of the current epoch again, so that it draws from the current random state.

    Does nothing before Lightning has started it for the first time.
    """
    fetcher = _attribute(trainer.fit_loop, "_data_fetcher")
    if fetcher is not None:
        iter(fetcher)


def logged_step(trainer: L.Trainer) -> int:
    """Return the step at which Lightning logs the metrics of the epoch that has just ended."""
    return int(_attribute(trainer.fit_loop.epoch_loop, "_batches_that_stepped")) - 1


@contextmanager
def cached_entry_points() -> Iterator[None]:
    """Let ``Trainer()`` find the callback entry points of installed packages without reading all metadata again.

    Lightning reads the metadata of every package, 10 to 25 ms, at each construction; a process's packages do not
    change. There is no setting for it, so the module's ``entry_points`` is replaced for the duration of the block.
    """
    module: Any = registry
    original = _attribute(module, "entry_points")
    try:
        module.entry_points = _entry_points
        yield
    finally:
        module.entry_points = original


_entry_points = functools.cache(importlib.metadata.entry_points)


def wandb_run(logger: WandbLogger) -> Any:
    """Return the logger's W&B run, or None if it has not been started; reading it starts nothing."""
    return _attribute(logger, "_experiment")


def set_wandb_run(logger: WandbLogger, run: Any) -> None:
    """Make ``run`` the logger's W&B run."""
    _attribute(logger, "_experiment")
    logger._experiment = run


def wandb_init_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Return the arguments with which the logger will call ``wandb.init``; changes of them take effect."""
    arguments: dict[str, Any] = _attribute(logger, "_wandb_init")
    return arguments


def mlflow_client(logger: MLFlowLogger) -> Any:
    """Return the logger's MLflow client; unlike ``logger.experiment``, this makes no request."""
    return _attribute(logger, "_mlflow_client")


def mlflow_ids(logger: MLFlowLogger) -> tuple[str | None, str | None]:
    """Return the experiment's and the run's id; None for what the logger has not created or found yet."""
    return _attribute(logger, "_experiment_id"), _attribute(logger, "_run_id")


def set_mlflow_run_id(logger: MLFlowLogger, run_id: str | None) -> None:
    """Make the logger resume the run with that id; None lets it create a run."""
    _attribute(logger, "_run_id")
    logger._run_id = run_id


def move_optimizers(optimizers: Iterable[Any], device: torch.device) -> None:
    """Move the state of the optimizers to ``device``, in place."""
    _attribute(optimizer_utilities, "_optimizers_to_device")(optimizers, device)


def learning_rate_attribute(finder: LearningRateFinder, module: L.LightningModule) -> str:
    """Return the attribute that the finder sets; empty if it sets none."""
    if not _attribute(finder, "_update_attr"):
        return ""
    name: str = _attribute(lr_finder, "_determine_lr_attr_name")(module, _attribute(finder, "_attr_name"))
    return name


def batch_size_attribute(finder: BatchSizeFinder) -> str:
    """Return the attribute that the finder sets."""
    name: str = _attribute(finder, "_batch_arg_name")
    return name


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        kind = getattr(owner, "__name__", type(owner).__name__)
        raise SweepError(f"Lightning's {kind} has no {name}", hint=version_hint()) from error
