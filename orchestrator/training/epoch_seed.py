"""Reseed at each epoch, so that its randomness depends on the trial's seed and the epoch's number alone."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor

from orchestrator.seeds import derive_seed
from orchestrator.training.compat_lightning import (
    before_loading,
    end_persistent_workers,
    restart_data_fetcher,
)
from orchestrator.training.random_state import loader_generators


class EpochSeed(L.Callback):
    """Reseeds Python's, NumPy's and torch's generators at the start of each training epoch.

    With it, an epoch draws the same numbers whether the earlier epochs ran in this process or the run resumes from a
    checkpoint: dropout, augmentation and the shuffling of a plain ``DataLoader`` are unchanged. Generators that the
    training loaders hold are reseeded, too. Persistent worker processes are started again for each epoch. The numbers
    that ``train_dataloader`` draws are those of the epoch for which an uninterrupted run calls it. A plain Trainer with
    this callback before all others gives the same weights as a sweep.

    Args:
        seed: the trial's seed; epoch ``n`` (from 0) gets ``derive_seed(seed, "epoch", n)``.

    Example:
        >>> import lightning
        >>> from orchestrator.training import EpochSeed
        >>> trainer = lightning.Trainer(max_epochs=1, callbacks=[EpochSeed(7)], logger=False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._state: tuple[Any, Any, Tensor] | None = None  # in which the first loaders are made

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set the seeds of the training loaders each time before they are made."""
        if stage == "fit":
            self._state = None
            before_loading(trainer, self._seed_loaders)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the generators' state, unless a finder has loaded data: Lightning calls finders before all callbacks."""
        self._state = self._state or (random.getstate(), np.random.get_state(), torch.get_rng_state())

    def _seed_loaders(self, epoch: int) -> None:
        if epoch > 0:
            _reseed(derive_seed(self.seed, "loaders", epoch))
            return
        self._state = self._state or (random.getstate(), np.random.get_state(), torch.get_rng_state())
        random.setstate(self._state[0])
        np.random.set_state(self._state[1])
        torch.set_rng_state(self._state[2])

    def reseed(self, epoch: int) -> int:
        """Set the seed of the process's generators as at the start of an epoch, from 0, and return it."""
        seed = derive_seed(self.seed, "epoch", epoch)
        _reseed(seed)
        return seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set all seeds of the epoch."""
        seed = self.reseed(trainer.current_epoch)
        for number, generator in enumerate(loader_generators(trainer.train_dataloader)):
            generator.manual_seed(derive_seed(seed, "loader", number))
        if trainer.current_epoch > 0:
            for loader in (*_loaders(trainer.train_dataloader), *_loaders(trainer.val_dataloaders)):
                end_persistent_workers(loader)
        if trainer.fit_loop.is_resuming:
            # Lightning starts the first epoch's loader before any hook of the epoch, and each later epoch's after all
            # of them. A resumed run has to start it after them, too, or the epoch's order would differ.
            restart_data_fetcher(trainer)


def _reseed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _loaders(loaders: Any) -> list[Any]:
    return CombinedLoader(loaders).flattened if loaders is not None else []
