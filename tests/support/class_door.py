"""Modules and data of every kind that a sweep file may name: classes, functions, classmethods, loaders."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BUILT: list[str] = []
"""The names of the objects that were built, in order."""


def points() -> TensorDataset:
    BUILT.append("points")
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x @ torch.tensor([[1.0], [-2.0]]))


class LineData(L.LightningDataModule):
    def __init__(self, batch_size: int = 16, **kwargs: Any) -> None:
        super().__init__()
        BUILT.append("LineData")
        self.batch_size, self.kwargs, self.num_features = batch_size, kwargs, 2
        self.points = points()

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size)

    def val_dataloader(self) -> Any:
        return DataLoader(self.points, 32)


class Bare(L.LightningModule):
    """A module without configure_optimizers."""

    def __init__(self, hidden: int = 4, act: str = "relu", net: nn.Module | None = None, loss: Any = None) -> None:
        super().__init__()
        self.hidden, self.act, self.loss = hidden, act, loss
        self.net = net or nn.Sequential(nn.Linear(2, hidden), nn.Linear(hidden, 1))

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))


class Whole(Bare):
    """A module with its own optimizer."""

    def __init__(self, lr: float = 0.1, table: dict[int, int] | None = None, data: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lr, self.table, self.data = lr, table, data

    @classmethod
    def from_dataset(cls, dataset: Any, lr: float = 0.1, **kwargs: Any) -> Whole:
        return cls(lr=lr, data=dataset, **kwargs)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Partial(Whole):
    """A module that gets a partial of an optimizer, as those of lightning-hydra-template do."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.optimizer: Any = optimizer

    def configure_optimizers(self) -> Any:
        return self.optimizer(params=self.parameters())


class OldHooks(Whole):
    def training_epoch_end(self, outputs: Any) -> None: ...


class Own(Callback):
    def __init__(self, every: int = 1) -> None:
        self.every = every


def make_model(hidden: int = 4, lr: float = 0.1) -> Whole:
    return Whole(lr=lr, hidden=hidden)


def unannotated(hidden=4):  # type: ignore[no-untyped-def]
    return Whole(hidden=hidden)


def make_net(hidden: int = 4) -> nn.Module:
    return nn.Linear(2, 1) if hidden == 1 else nn.Sequential(nn.Linear(2, hidden), nn.Linear(hidden, 1))


def make_loaders(batch_size: int = 16) -> dict[str, Any]:
    return {"train": DataLoader(points(), batch_size), "val": DataLoader(points(), 32)}


def no_model() -> int:
    return 3
