"""A plain Lightning module and its data, independent of sweeps."""

from __future__ import annotations

import lightning as L
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

Batch = tuple[Tensor, ...]


class Regressor(L.LightningModule):
    """One hidden layer, for rows of ten numbers. Logs ``train_loss`` and ``val_loss``, mean squared errors."""

    def __init__(self, learning_rate: float = 1e-2, hidden: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, rows: Tensor) -> Tensor:
        prediction: Tensor = self.net(rows)
        return prediction.squeeze(1)

    def training_step(self, batch: Batch) -> Tensor:
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        self.log("val_loss", F.mse_loss(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Diabetes(L.LightningDataModule):
    """scikit-learn's 442 patients: ten measurements, and the disease's progress in standard deviations."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        rows, progress = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
        rows, progress = rows / rows.std(0), (progress - progress.mean()) / progress.std()
        parts = random_split(TensorDataset(rows, progress), [342, 100], torch.Generator().manual_seed(0))
        self.training, self.validation = parts

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.training, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.validation, batch_size=100)
