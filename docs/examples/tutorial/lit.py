"""The image classifier of the W&B tutorial for Lightning, and its data; independent of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from torchmetrics import Accuracy
from torchvision import transforms
from torchvision.datasets import CIFAR10

Batch = tuple[Tensor, Tensor]


class LitModel(L.LightningModule):
    """Images in, log-probabilities of classes out: four convolutions, then three fully connected layers."""

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, learning_rate: float = 2e-4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.features = nn.Sequential(
            *(nn.Conv2d(input_shape[0], 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        width = self.features(torch.zeros(1, *input_shape)).shape[1]
        self.classify = nn.Sequential(
            *(nn.Linear(width, 512), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, num_classes)),
        )
        self.accuracy = Accuracy(task="multiclass", num_classes=num_classes)
        self.example_input_array = torch.zeros(1, *input_shape)

    def forward(self, images: Tensor) -> Tensor:
        return F.log_softmax(self.classify(self.features(images)), dim=1)

    def training_step(self, batch: Batch) -> Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Batch) -> Tensor:
        return self.step(batch, "val")

    def test_step(self, batch: Batch) -> Tensor:
        return self.step(batch, "test")

    def step(self, batch: Batch, stage: str) -> Tensor:
        images, labels = batch
        log_probabilities = self(images)
        loss = F.nll_loss(log_probabilities, labels)
        scores = {f"{stage}_loss": loss, f"{stage}_acc": self.accuracy(log_probabilities, labels)}
        self.log_dict(scores, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Images(L.LightningDataModule):
    """Shared by the two data sets below: loaders and normalisation."""

    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    training: Dataset[Any]
    validation: Dataset[Any]
    held_out: Dataset[Any]

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.training, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.validation, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.held_out, batch_size=self.batch_size)


class CIFAR10Data(Images):
    """50,000 photographs of 32x32 in ten classes, of which 5,000 are for validation; and 10,000 more to test on."""

    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    dims = (3, 32, 32)

    def __init__(self, batch_size: int = 32, data_dir: str = "./data") -> None:
        super().__init__(batch_size)
        self.data_dir = Path(data_dir)
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(self.mean, self.std)])

    def prepare_data(self) -> None:
        CIFAR10(self.data_dir, train=True, download=True)
        CIFAR10(self.data_dir, train=False, download=True)

    def setup(self, stage: str) -> None:
        if stage == "test":
            self.held_out = CIFAR10(self.data_dir, train=False, transform=self.transform)
            return
        photographs = CIFAR10(self.data_dir, train=True, transform=self.transform)
        fixed_split = torch.Generator().manual_seed(0)  # in every trial
        self.training, self.validation = random_split(photographs, [45_000, 5_000], fixed_split)


class DigitsData(Images):
    """scikit-learn's 1,797 handwritten digits, resized to 20x20 in three channels; no download."""

    class_names = tuple("0123456789")
    dims = (3, 20, 20)

    def setup(self, stage: str) -> None:
        digits = load_digits()
        grey = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
        images = F.interpolate(grey, size=20, mode="bilinear", antialias=True).clamp(0, 1).expand(-1, 3, -1, -1)
        dataset = TensorDataset((images - 0.5) / 0.5, torch.tensor(digits.target))
        fixed_split = torch.Generator().manual_seed(0)  # in every trial
        self.training, self.validation, self.held_out = random_split(dataset, [1257, 270, 270], fixed_split)
