"""Seeds inside a trial: every epoch's randomness follows from the trial's seed and the epoch's number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader

from orchestrator.seeds import derive_seed


class EpochSeed(L.Callback):
    """Reseeds Python's, NumPy's and torch's generators at the start of each training epoch.

    With it, an epoch draws the same numbers whether the epochs before it ran in this process or the run goes on from a
    checkpoint: dropout, augmentation and the shuffling of a plain ``DataLoader`` come out as they would have.
    Generators given to the training loaders are reseeded as well. A plain Trainer with it gives what a sweep gives.

    Args:
        seed: the trial's seed; epoch ``n`` (from 0) gets ``derive_seed(seed, "epoch", n)``.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seed = derive_seed(self.seed, "epoch", trainer.current_epoch)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for number, generator in enumerate(_generators(trainer.train_dataloader)):
            generator.manual_seed(derive_seed(seed, "loader", number))
        if trainer.fit_loop.is_resuming:
            _start_loaders_again(trainer)


def _start_loaders_again(trainer: L.Trainer) -> None:
    """Lightning starts the first epoch's loader before any hook of the epoch, and each later epoch's after this one.

    A loader draws from the global generator as it starts, so on a resumed run it has to start again after the seeds are
    set, or the epoch's order would differ from the unbroken run's. There is no public call for it.
    """
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is not None:
        iter(fetcher)


def _generators(loaders: Any) -> Iterator[torch.Generator]:
    """The generators of the training loaders and their samplers, each once, in the loaders' order."""
    seen: set[int] = set()
    for loader in CombinedLoader(loaders).flattened if loaders is not None else ():
        batch_sampler = getattr(loader, "batch_sampler", None)
        owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        for owner in owners:
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator) and id(generator) not in seen:
                seen.add(id(generator))
                yield generator
