"""One trial of LitModel on CIFAR-10: our defaults over the tutorial's script as written, same batch size.

    python benchmarks/trial.py --data-dir ./data                 images/s at batch 32 and 128, as ratios
    python benchmarks/trial.py --data-dir ./data --accuracy      val_acc of both after --epochs, over 3 seeds

The tutorial's script is https://wandb.ai/wandb/wandb-lightning/reports/ "Image Classification using PyTorch Lightning":
torchvision's CIFAR10 through ToTensor and Normalize in a DataLoader without workers, torchmetrics' Accuracy, its two
metrics logged at each step and each epoch, Adam, float32, a Trainer with its own defaults. Its progress bar and model
summary are off, which is to its advantage, and so are its callbacks unless ``--callbacks`` adds early stopping and the
model checkpoint; it logs to CSV, not to W&B. Ours is ``orchestrator.training.fit`` with
``LitModel`` and ``CIFAR10DataModule`` and no argument beyond the batch size and the limits.

Rounds alternate, tutorial then ours, in one process; a round's speed is images over the seconds from the start of its
training epoch to the end of the last training batch. A ratio is taken within each round; the median is what counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchmetrics import Accuracy
from torchvision import transforms
from torchvision.datasets import CIFAR10

from orchestrator.training import Job, Report, fit

TRAIN_IMAGES = 45_000


class TutorialData(L.LightningDataModule):
    """The tutorial's CIFAR10DataModule."""

    def __init__(self, batch_size: int, data_dir: str) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.data_dir = data_dir
        half = (0.5, 0.5, 0.5)
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])

    def setup(self, stage: str | None = None) -> None:
        everything = CIFAR10(self.data_dir, train=True, transform=self.transform)
        self.train, self.val = random_split(everything, [TRAIN_IMAGES, 5000])

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, batch_size=self.batch_size)


class TutorialModel(L.LightningModule):
    """The tutorial's LitModel."""

    def __init__(self, num_classes: int = 10, learning_rate: float = 2e-4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.conv1 = nn.Conv2d(3, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 32, 3, 1)
        self.conv3 = nn.Conv2d(32, 64, 3, 1)
        self.conv4 = nn.Conv2d(64, 64, 3, 1)
        self.pool1 = nn.MaxPool2d(2)
        self.pool2 = nn.MaxPool2d(2)
        features = self._features(torch.rand(1, 3, 32, 32)).flatten(1).shape[1]
        self.fc1 = nn.Linear(features, 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, num_classes)
        self.accuracy = Accuracy(task="multiclass", num_classes=num_classes)

    def _features(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return self.pool2(F.relu(self.conv4(F.relu(self.conv3(x)))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self._features(x)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, accuracy = self._judge(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, logger=True)
        self.log("train_acc", accuracy, on_step=True, on_epoch=True, logger=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, accuracy = self._judge(batch)
        self.log("val_loss", loss, prog_bar=True)
        self.log("val_acc", accuracy, prog_bar=True)
        return loss

    def _judge(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        logits = self(x)
        return F.nll_loss(logits, y), self.accuracy(torch.argmax(logits, dim=1), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Stopwatch(L.Callback):
    """Seconds of each training epoch's steps, and the validation accuracy after it."""

    seconds: ClassVar[list[float]] = []
    val_acc: ClassVar[list[float]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()
        self._last = -1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            Stopwatch.seconds.append(time.perf_counter() - self._start)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Stopwatch.val_acc.append(float(trainer.callback_metrics["val_acc"]))


def tutorial(batch_size: int, asked: argparse.Namespace, *, seed: int, folder: str, limits: dict[str, Any]) -> None:
    """The tutorial's script."""
    L.seed_everything(seed, verbose=False)
    callbacks: list[L.Callback] = [Stopwatch()]
    if asked.callbacks:
        callbacks += [EarlyStopping(monitor="val_loss"), ModelCheckpoint()]
    trainer = L.Trainer(
        logger=CSVLogger(folder),
        callbacks=callbacks,
        enable_checkpointing=asked.callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **limits,
    )
    trainer.fit(TutorialModel(), TutorialData(batch_size, asked.data_dir))


def ours(batch_size: int, asked: argparse.Namespace, *, seed: int, folder: str, limits: dict[str, Any]) -> None:
    """One trial as a sweep runs it."""
    watch = f"{Stopwatch.__module__}.{Stopwatch.__qualname__}"
    job = Job(
        trial=0,
        segment=0,
        seed=seed,
        metric="val_acc",
        model={"class_path": "orchestrator.models.LitModel", "init_args": {}},
        data={
            "class_path": "orchestrator.data.CIFAR10DataModule",
            "init_args": {"data_dir": asked.data_dir, "batch_size": batch_size, "download": False},
        },
        trainer={**limits, "callbacks": [{"class_path": watch, "init_args": {}}]},
        folder=str(Path(folder) / "run" / "trials" / "0000"),
    )
    fit(job, _go_on)


def _go_on(report: Report) -> bool:
    return True


def speed(batch_size: int, asked: argparse.Namespace) -> float:
    """Print one line a round; return the median ratio."""
    steps = max(1, min(asked.images, TRAIN_IMAGES) // batch_size)
    limits = {"max_epochs": 1, "limit_train_batches": steps, "limit_val_batches": 1}
    ratios = []
    for number in range(asked.rounds + 1):
        rates = [_rate(side, batch_size, asked, steps, limits) for side in (tutorial, ours)]
        if number:  # the first round warms both
            ratios.append(rates[1] / rates[0])
            print(
                f"  batch {batch_size:3d} round {number}: tutorial {rates[0]:7.0f}, ours {rates[1]:7.0f} images/s "
                f"= {ratios[-1]:.2f}x",
                flush=True,
            )
    return statistics.median(ratios)


def _rate(side: Any, batch_size: int, asked: argparse.Namespace, steps: int, limits: dict[str, Any]) -> float:
    Stopwatch.seconds.clear()
    with tempfile.TemporaryDirectory() as folder:
        side(batch_size, asked, seed=1, folder=folder, limits=limits)
    return steps * batch_size / Stopwatch.seconds[0]


def accuracy(batch_size: int, asked: argparse.Namespace) -> None:
    """Print the validation accuracy of both after the same epochs, seed by seed."""
    limits = {"max_epochs": asked.epochs, "limit_train_batches": max(1, min(asked.images, TRAIN_IMAGES) // batch_size)}
    found: dict[str, list[float]] = {"tutorial": [], "ours": []}
    for seed in range(1, 4):
        for side in (tutorial, ours):
            Stopwatch.val_acc.clear()
            with tempfile.TemporaryDirectory() as folder:
                side(batch_size, asked, seed=seed, folder=folder, limits=limits)
            found[side.__name__].append(Stopwatch.val_acc[-1])
            print(
                f"  batch {batch_size:3d} seed {seed} {side.__name__:8s}: val_acc {Stopwatch.val_acc[-1]:.4f}",
                flush=True,
            )
    for name, values in found.items():
        print(f"batch {batch_size} {name:8s}: val_acc {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="./data", help="folder that holds cifar-10-batches-py")
    parser.add_argument("--batch-size", type=int, action="append", help="may be repeated; default 32 and 128")
    parser.add_argument("--images", type=int, default=6400, help="training images a round, or an epoch (default 6400)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that warms up")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracy rather than speed")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each accuracy run")
    parser.add_argument("--callbacks", action="store_true", help="give the tutorial's side its callbacks")
    asked = parser.parse_args()
    if not (Path(asked.data_dir) / "cifar-10-batches-py").is_dir():
        print(f"no CIFAR-10 in {asked.data_dir}: needs its folder cifar-10-batches-py", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(
        f"one trial: torch {torch.__version__}, lightning {L.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    for batch_size in asked.batch_size or [32, 128]:
        if asked.accuracy:
            accuracy(batch_size, asked)
        else:
            print(f"one trial, batch {batch_size}: {speed(batch_size, asked):.2f}x (median of {asked.rounds} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
