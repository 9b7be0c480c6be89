"""A module and data that train in milliseconds, with faults to order. Imported by path, as a user's own would be."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TinyData(L.LightningDataModule):
    """64 points of a line with noise, the same in every process."""

    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(64, 2, generator=generator)
        self.points = TensorDataset(x, x @ torch.tensor([[1.0], [-2.0]]) + 0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.points, 64)


class Tiny(L.LightningModule):
    """A linear fit. ``fault`` is one of raise, nan, die, die_once, or nothing; ``pause`` seconds a batch."""

    def __init__(self, learning_rate: float = 0.1, fault: str = "", pause: float = 0.0, marker: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.fault, self.pause, self.marker = fault, pause, marker
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        time.sleep(self.pause)
        if self.current_epoch == 1 and index == 0:
            self.break_down()
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def break_down(self) -> None:
        if self.fault == "raise":
            raise ValueError("the user's own mistake")
        if self.fault == "die" or (self.fault == "die_once" and not Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os._exit(1)

    def validation_step(self, batch: Any, index: int) -> None:
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        if self.fault == "nan" and self.current_epoch == 1:
            loss = loss * float("nan")
        self.log("val_loss", loss)
        self.log("pid", float(os.getpid()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"])


class Computed(Tiny):
    """Logs under names that its source does not show."""

    def validation_step(self, batch: Any, index: int) -> None:
        super().validation_step(batch, index)
        for name in ("a", "b"):
            self.log(f"val_{name}", 1.0)


class Heavy(Tiny):
    """With 96 MB of weights, so that a checkpoint takes a while to copy."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.register_buffer("ballast", torch.zeros(24_000_000))


class WithTest(Tiny):
    """With a test of its own."""

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", nn.functional.mse_loss(self.layer(batch[0]), batch[1]))


class DataWithTest(TinyData):
    """With other points for the test. Each reading of them leaves a line in ``$TINY_TEST_READ``."""

    def test_dataloader(self) -> Any:
        if log := os.environ.get("TINY_TEST_READ"):
            with Path(log).open("a") as file:
                file.write("read\n")
        x = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x, x @ torch.tensor([[1.0], [-2.0]]) + 0.1), 32)


class Waiting(Tiny):
    """An epoch takes so many seconds, and next to no computing."""

    def __init__(self, learning_rate: float = 0.1, seconds: float = 1.0) -> None:
        super().__init__(learning_rate)
        self.seconds = seconds

    def on_train_epoch_start(self) -> None:
        time.sleep(self.seconds)
