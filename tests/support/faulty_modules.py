"""Modules with one fault each, which running one batch finds."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from tests.support.cut_runs import Remembering, Stream
from tests.support.tiny import Tiny, TinyData


class NoOptimizer(L.LightningModule):
    """Without configure_optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        return self.layer(batch[0]).mean()


class NoneForAnOptimizer(Tiny):
    def configure_optimizers(self) -> Any:
        return None


class Manual(Tiny):
    """Without an optimizer of Lightning's on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return None

    def training_step(self, batch: Any, index: int) -> None:
        super().training_step(batch, index).backward()


class NoStep(L.LightningModule):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(BoringModel().parameters(), lr=0.1)


class Empty(TinyData):
    """Its training loader drops its only batch."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, 100, drop_last=True)


class InSequence(TinyData):
    """Two loaders, one after the other."""

    def train_dataloader(self) -> Any:
        return CombinedLoader([super().train_dataloader(), super().train_dataloader()], "sequential")


class Streamed(TinyData):
    """Points that come one after another; from a data set with a state, if ``keeps`` says so."""

    def __init__(self, keeps: bool = False, workers: int = 0) -> None:
        super().__init__()
        self.keeps, self.workers = keeps, workers

    def train_dataloader(self) -> Any:
        data = (Remembering if self.keeps else Stream)()
        return DataLoader(data, num_workers=self.workers, collate_fn=_of_two)


def _of_two(points: Any) -> Any:
    return [points[0][0][None, :2], points[0][1][None]]


class Downloads(Empty):
    def prepare_data(self) -> None:
        raise AssertionError("the check before the start must not call this")


class LogsAnotherName(Tiny):
    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_los", 1.0)


class LogsLater(Tiny):
    """Logs the objective once there is more than one batch."""

    def validation_step(self, batch: Any, index: int) -> None:
        if index > 0:
            self.log("val_loss", 1.0)


class Raises(Tiny):
    def training_step(self, batch: Any, index: int) -> Any:
        raise ValueError("only on this machine")


class Exits(Tiny):
    def training_step(self, batch: Any, index: int) -> Any:
        sys.exit(0)


class Workers(TinyData):
    """Reads in processes of its own, and leaves a file where it is started."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, 16, num_workers=2, persistent_workers=True, prefetch_factor=4)


class CannotContinue(Tiny):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        raise KeyError("mine")


class ToNumpy(Tiny):
    """Gives its outputs to numpy in validation, as modules do that use scikit-learn's metrics."""

    def validation_step(self, batch: Any, index: int) -> None:
        self.log(
            "val_loss", float(np.abs(self.layer(batch[0]).cpu().numpy()).mean() + np.asarray(self(batch[0])).sum())
        )

    def forward(self, x: Any) -> Any:
        return self.layer(x) * 0


class IntoFloat32(Tiny):
    """Writes its outputs into a tensor of float32, which torch refuses for those of half precision."""

    def validation_step(self, batch: Any, index: int) -> None:
        kept = torch.zeros(len(batch[0]), 1)
        kept[torch.arange(len(batch[0]))] = self.layer(batch[0])
        self.log("val_loss", kept.mean())
