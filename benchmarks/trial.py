"""Compare one trial of LitModel on CIFAR-10 with the tutorial's script as written, at the same batch size.

    python benchmarks/trial.py --data-dir ./data                 images/s at batch 32 and 128, as ratios
    python benchmarks/trial.py --data-dir ./data --accuracy      val_acc of both after --epochs, over 3 seeds

The tutorial's script is Weights & Biases' "Image Classification using PyTorch Lightning": torchvision's CIFAR10 through
ToTensor and Normalize in a DataLoader without workers, torchmetrics' Accuracy, its two metrics logged at each step and
each epoch, Adam, float32, a Trainer with its own defaults (progress bar and model summary are on). Its callbacks are
off, which is to its advantage, unless ``--callbacks`` adds early stopping and the model checkpoint; it logs to CSV, not
to W&B. Ours is ``orchestrator.training.fit`` with ``LitModel`` and ``CIFAR10DataModule``, and no argument but the batch
size and the limits.

Each side has a process of its own, and rounds alternate, tutorial then ours. A round's speed is images over the seconds
from the start of its training epoch to the end of the last training step; the ratio is taken within each round, and the
median is what counts. On a machine that others use, ``--cpu-time --threads 1`` compares seconds of CPU instead.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
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
        images = CIFAR10(self.data_dir, train=True, transform=self.transform)
        self.train, self.val = random_split(images, [TRAIN_IMAGES, 5000])

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

    clock: ClassVar[Callable[[], float]] = time.perf_counter

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = Stopwatch.clock()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            Stopwatch.seconds.append(Stopwatch.clock() - self._start)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Stopwatch.val_acc.append(float(trainer.callback_metrics["val_acc"]))


def tutorial(order: dict[str, Any], folder: str) -> None:
    """Run the tutorial's script."""
    L.seed_everything(order["seed"], verbose=False)
    callbacks: list[L.Callback] = [Stopwatch()]
    if order["callbacks"]:
        callbacks += [EarlyStopping(monitor="val_loss"), ModelCheckpoint()]
    trainer = L.Trainer(
        logger=CSVLogger(folder),
        callbacks=callbacks,
        enable_checkpointing=order["callbacks"],
        **order["limits"],
    )
    trainer.fit(TutorialModel(), TutorialData(order["batch_size"], order["data_dir"]))


def ours(order: dict[str, Any], folder: str) -> None:
    """Run one trial as a sweep runs it."""
    data = {"data_dir": order["data_dir"], "batch_size": order["batch_size"], "download": False}
    watch = {"class_path": f"{Stopwatch.__module__}.{Stopwatch.__qualname__}", "init_args": {}}
    job = Job(
        trial=0,
        segment=0,
        seed=order["seed"],
        metric="val_acc",
        model={"class_path": "orchestrator.models.LitModel", "init_args": {}},
        data={"class_path": "orchestrator.data.CIFAR10DataModule", "init_args": data},
        trainer={**order["limits"], "callbacks": [watch]},
        folder=str(Path(folder) / "run" / "trials" / "0000"),
    )
    fit(job, _continue)


def _continue(report: Report) -> bool:
    return True


class Side:
    """A process that runs one side's trials, one order a line."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--side", name, *arguments]
        pipe = subprocess.PIPE
        self.name = name
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def run(self, **order: Any) -> dict[str, float]:
        """``seconds`` of the first epoch's training steps, and the last ``val_acc``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the {self.name} side ended with {self.process.wait()}")
        return dict(json.loads(answer))


def serve(side: Callable[[dict[str, Any], str], None]) -> None:
    """Answer orders in a side's process. Only answers go to the standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for line in sys.stdin:
        Stopwatch.seconds.clear()
        with tempfile.TemporaryDirectory() as folder:
            side(json.loads(line), folder)
        print(json.dumps({"seconds": Stopwatch.seconds[0], "val_acc": Stopwatch.val_acc[-1]}), file=answers, flush=True)


def speed(sides: Sequence[Side], batch_size: int, options: argparse.Namespace) -> None:
    """Print one line a round, then the median ratio."""
    steps = max(1, min(options.images, TRAIN_IMAGES) // batch_size)
    order = _order(batch_size, options, max_epochs=1, limit_train_batches=steps, limit_val_batches=1)
    ratios = []
    for number in range(options.rounds + 1):
        slow, fast = (steps * batch_size / side.run(**order, seed=1)["seconds"] for side in sides)
        if number:  # the first round warms both
            ratios.append(fast / slow)
            print(f"  round {number}: tutorial {slow:6.0f}, ours {fast:6.0f} images/s, {fast / slow:.2f}x", flush=True)
    print(
        f"one trial, batch {batch_size}: {statistics.median(ratios):.2f}x (median of {options.rounds} rounds)",
        flush=True,
    )


def accuracy(sides: Sequence[Side], batch_size: int, options: argparse.Namespace) -> None:
    """Print the validation accuracy of both after the same epochs over three seeds."""
    steps = max(1, min(options.images, TRAIN_IMAGES) // batch_size)
    order = _order(batch_size, options, max_epochs=options.epochs, limit_train_batches=steps)
    for side in sides:
        accuracies = [side.run(**order, seed=seed)["val_acc"] for seed in (1, 2, 3)]
        each = ", ".join(f"{value:.4f}" for value in accuracies)
        spread = f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}"
        print(
            f"batch {batch_size}, {options.epochs} epochs of {steps} steps, {side.name:8s}: val_acc {spread} ({each})"
        )


def _order(batch_size: int, options: argparse.Namespace, **limits: Any) -> dict[str, Any]:
    return {"batch_size": batch_size, "data_dir": options.data_dir, "callbacks": options.callbacks, "limits": limits}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="./data", help="folder that holds cifar-10-batches-py")
    parser.add_argument("--batch-size", type=int, action="append", help="may be repeated; default 32 and 128")
    parser.add_argument("--images", type=int, default=6400, help="training images a round, or an epoch (default 6400)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that warms up")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracy rather than speed")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each accuracy run")
    parser.add_argument("--callbacks", action="store_true", help="give the tutorial's side its callbacks")
    parser.add_argument("--side", choices=["tutorial", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help="CPU threads of torch on both sides; default torch's own")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU seconds of the process, not the clock")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.cpu_time:
        Stopwatch.clock = time.process_time
    if options.side:
        serve({"tutorial": tutorial, "ours": ours}[options.side])
        return 0
    if not (Path(options.data_dir) / "cifar-10-batches-py").is_dir():
        print(f"no CIFAR-10 in {options.data_dir}: needs its folder cifar-10-batches-py", file=sys.stderr)
        return 2
    print(
        f"one trial: torch {torch.__version__}, lightning {L.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )
    sides = [Side(name, sys.argv[1:]) for name in ("tutorial", "ours")]
    for batch_size in options.batch_size or [32, 128]:
        (accuracy if options.accuracy else speed)(sides, batch_size, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
