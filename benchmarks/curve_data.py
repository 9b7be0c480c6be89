"""The data of the trainings of `benchmarks.curve_tasks`: subsets of what the project reads, made small.

Digits and diabetes come with scikit-learn, the text with Python. Fashion-MNIST and CIFAR-10 lie in a folder, or are
downloaded into it. Inputs have mean 0 and deviation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from orchestrator.data import CIFAR10DataModule, DigitsDataModule, FashionMNISTDataModule, PythonTextDataModule
from orchestrator.data.image_datamodule import stratified


@dataclass(frozen=True)
class Data:
    """Inputs and targets; the first dimension is the number of samples."""

    inputs: Tensor
    targets: Tensor
    valid_inputs: Tensor
    valid_targets: Tensor


def _images(images: Tensor, labels: Tensor, train_size: int, valid_size: int, side: int) -> Data:
    """Return a stratified subset of (N, height, width, channels) uint8 images, of mean 0 and deviation 1."""
    rows = stratified(labels, seed=0)[: train_size + valid_size]
    inputs = F.adaptive_avg_pool2d(images[rows].permute(0, 3, 1, 2).float(), side)
    inputs = (inputs - inputs[:train_size].mean()) / inputs[:train_size].std()
    targets = labels[rows]
    return Data(inputs[:train_size], targets[:train_size], inputs[train_size:], targets[train_size:])


def digits(folder: Path) -> Data:
    return _images(*DigitsDataModule(image_size=8, channels=1).read("fit"), 384, 300, side=8)


def fashion(folder: Path) -> Data:
    return _fashion(folder, 640, side=10)


def small_fashion(folder: Path) -> Data:
    return _fashion(folder, 384, side=10)


def _fashion(folder: Path, train_size: int, side: int) -> Data:
    return _images(*FashionMNISTDataModule(str(folder)).read("fit"), train_size, 300, side=side)


def fashion_pixels(folder: Path) -> Data:
    data = _fashion(folder, 512, side=10)
    flat, valid = data.inputs.flatten(1), data.valid_inputs.flatten(1)
    return Data(flat, flat, valid, valid)


def cifar10(folder: Path) -> Data:
    return _images(*CIFAR10DataModule(str(folder)).read("fit"), 384, 300, side=10)


def diabetes(folder: Path) -> Data:
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    table = torch.cat([torch.tensor(inputs), torch.tensor(targets)[:, None]], dim=1).float()
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    table = (table - table[:300].mean(0)) / table[:300].std(0)
    return Data(table[:300, :-1], table[:300, -1:], table[300:, :-1], table[300:, -1:])


def text(folder: Path, context: int = 32, valid_size: int = 32) -> Data:
    loaders = PythonTextDataModule(context=context)
    text, valid = loaders.train_dataloader().text, loaders.val_dataloader().text
    windows, valid_windows = (part[1 : len(part) - (len(part) - 1) % context] for part in (text, valid))
    inputs, valid_inputs = text[: len(windows)].view(-1, context), valid[: len(valid_windows)].view(-1, context)
    far = slice(None, None, len(valid_inputs) // valid_size)
    return Data(inputs, windows.view(-1, context), valid_inputs[far], valid_windows.view(-1, context)[far])
