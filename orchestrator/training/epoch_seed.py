"""Reseed at each epoch, so that its randomness depends on the trial's seed and the epoch's number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader

from orchestrator.seeds import derive_seed
from orchestrator.training.compat_lightning import restart_data_fetcher


class EpochSeed(L.Callback):
    """Reseeds Python's, NumPy's and torch's generators at the start of each training epoch.

    With it, an epoch draws the same numbers whether the earlier epochs ran in this process or the run resumes from a
    checkpoint: dropout, augmentation and the shuffling of a plain ``DataLoader`` are unchanged. Generators that the
    training loaders hold are reseeded, too. A plain Trainer with this callback gives the same weights as a sweep.

    Args:
        seed: the trial's seed; epoch ``n`` (from 0) gets ``derive_seed(seed, "epoch", n)``.

    Example:
        >>> import lightning
        >>> from orchestrator.training import EpochSeed
        >>> trainer = lightning.Trainer(max_epochs=1, callbacks=[EpochSeed(7)], logger=False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set all seeds of the epoch."""
        seed = derive_seed(self.seed, "epoch", trainer.current_epoch)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for number, generator in enumerate(_generators(trainer.train_dataloader)):
            generator.manual_seed(derive_seed(seed, "loader", number))
        if trainer.fit_loop.is_resuming:
            # Lightning starts the first epoch's loader before any hook of the epoch, and each later epoch's after this
            # one. A loader draws from the global generator as it starts, so a resumed run has to start it again after
            # the seeds are set, or the epoch's order would differ from the uninterrupted run's.
            restart_data_fetcher(trainer)


def _generators(loaders: Any) -> Iterator[torch.Generator]:
    """Yield the generators of the training loaders and their samplers, each once, in the loaders' order."""
    seen: set[int] = set()
    for loader in CombinedLoader(loaders).flattened if loaders is not None else ():
        batch_sampler = getattr(loader, "batch_sampler", None)
        owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        for owner in owners:
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator) and id(generator) not in seen:
                seen.add(id(generator))
                yield generator
