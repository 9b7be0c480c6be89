"""Run Lightning's learning rate and batch size finders once a trial, and keep what they found.

They train a little as fitting starts and put the Trainer back to where it began. In a segment that starts from a
checkpoint that would move the training back, and each segment would find another value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities.parsing import lightning_hasattr, lightning_setattr

from orchestrator.training.compat_lightning import batch_size_attribute, learning_rate_attribute

log = logging.getLogger(__name__)
_KEY = "orchestrator.found"  # of this callback's state in the checkpoint


class Finders(L.Callback):
    """Lets each finder run in a trial's first segment alone; later ones take its result from the checkpoint.

    Args:
        resumes: whether the segment starts from a checkpoint.

    Attributes:
        found: the attributes of the module or data module that finders have set, with their values.
    """

    def __init__(self, *, resumes: bool) -> None:
        self.found: dict[str, int | float] = {}
        self._resumes = resumes

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Skip the finders of a segment that resumes; in the first, note what each finds."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LearningRateFinder | BatchSizeFinder):
                finder: Any = callback
                finder.on_fit_start = _skip if self._resumes else self._noting(finder, finder.on_fit_start)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what was found under a key of its own, which a plain Trainer ignores."""
        if self.found:
            checkpoint[_KEY] = dict(self.found)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set what was found, before data are loaded and optimizers are built."""
        if not self._resumes:  # a finder goes back to where it began
            return
        self.found = dict(checkpoint.get(_KEY) or {})
        for name, value in self.found.items():
            if lightning_hasattr(pl_module, name):
                lightning_setattr(pl_module, name, value)

    def _noting(self, finder: Any, run: Callable[..., None]) -> Callable[..., None]:
        def on_fit_start(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            run(trainer, pl_module)
            self.found |= _result(finder, pl_module)

        return on_fit_start


def _skip(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    log.info("the finder has run in the trial's first segment")


def _result(finder: Any, module: L.LightningModule) -> dict[str, int | float]:
    """Return the attribute that a finder has set, with its value; empty if it found none."""
    if isinstance(finder, BatchSizeFinder):
        size = finder.optimal_batch_size
        return {batch_size_attribute(finder): int(size)} if size is not None else {}
    found = finder.optimal_lr
    rate = found.suggestion() if found is not None else None
    name = learning_rate_attribute(finder, module)
    return {name: float(rate)} if rate is not None and name else {}
