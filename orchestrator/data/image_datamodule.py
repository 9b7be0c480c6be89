"""What the shipped image DataModules share: splits, loaders, seeds and where the images live."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal

import lightning as L
import torch
from torch import Tensor

from orchestrator.data.batch_loader import BatchLoader, BatchOrder, Pixels, seeded

Part = Literal["fit", "test"]
CacheDevice = Literal["auto", "cpu"]

# More than one trial may share a GPU, and the model needs room too.
LARGEST_SHARE_OF_FREE_MEMORY = 0.25


class ImageDataModule(L.LightningDataModule):
    """Loaders over decoded images. A subclass says how to read a part, and how big an image is.

    Batches are ordered by (base seed, epoch) alone. The base seed is ``seed``; without it ``PL_GLOBAL_SEED``, which
    ``lightning.seed_everything`` sets; without that torch's own. ``setup("fit")`` reads no test images, and
    ``predict_dataloader`` gives the validation images: test images come from ``test_dataloader`` alone.

    Attributes: ``dims`` (channels, height, width), ``num_classes``, ``class_names``, ``batch_size``.
    """

    num_classes: int = 10
    class_names: tuple[str, ...] = tuple(str(digit) for digit in range(10))
    dims: tuple[int, int, int]

    def __init__(
        self,
        pixels: Pixels,
        *,
        batch_size: int,
        val_size: int,
        seed: int | None,
        split_seed: int,
        cache_device: CacheDevice,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"`batch_size >= 1` must hold, but got batch_size={batch_size}")
        self.pixels = pixels
        self.batch_size = batch_size
        self.val_size = val_size
        self.seed = seed
        self.split_seed = split_seed
        self.cache_device = cache_device
        self._read: dict[Part, tuple[Tensor, Tensor]] = {}

    def read(self, part: Part) -> tuple[Tensor, Tensor]:
        """A part's images (N, height, width, channels) uint8 and labels (N,) int64, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} must say how to read its {part} images")

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Row numbers of the training and the validation images among the ``fit`` part, by ``split_seed`` alone.

        The same rows in the same order as ``random_split`` gives under a generator of that seed.
        """
        count = len(labels)
        if not 0 < self.val_size < count:
            raise ValueError(f"`0 < val_size < {count}` must hold, but got val_size={self.val_size}")
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(self.split_seed))
        return rows[: count - self.val_size], rows[count - self.val_size :]

    def setup(self, stage: str | None = None) -> None:
        """Read what ``stage`` needs: fit, validate, test, predict, or None for all."""
        for part in _parts(stage):
            self._arrays(part)

    def teardown(self, stage: str) -> None:
        """Let the images go, those on a GPU above all. A loader asked for later reads them again."""
        self._read.clear()

    def train_dataloader(self) -> BatchLoader:
        # "Overfit on a few batches" means the same few in every epoch.
        overfit = self.trainer is not None and bool(self.trainer.overfit_batches)  # type: ignore[attr-defined]
        return self._loader("fit", validation=False, seed=None if overfit else _base_seed(self.seed))

    def val_dataloader(self) -> BatchLoader:
        return self._loader("fit", validation=True)

    def predict_dataloader(self) -> BatchLoader:
        return self._loader("fit", validation=True)

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test")

    def _arrays(self, part: Part) -> tuple[Tensor, Tensor]:
        if part not in self._read:
            images, labels = self.read(part)
            device = self._device(images)
            self._read[part] = images.to(device), labels.to(device)
        return self._read[part]

    def _device(self, images: Tensor) -> torch.device:
        """The trainer's GPU where there is one and the images fit it, else the CPU."""
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        if self.cache_device == "cpu" or device.type != "cuda":
            return torch.device("cpu")
        free, _ = torch.cuda.mem_get_info(device)
        return device if images.nbytes <= LARGEST_SHARE_OF_FREE_MEMORY * free else torch.device("cpu")

    def _loader(self, part: Part, *, validation: bool = False, seed: int | None = None) -> BatchLoader:
        images, labels = self._arrays(part)
        rows = torch.arange(len(labels)) if part == "test" else self.split(labels)[validation]
        pixels = self.pixels if seed is not None else replace(self.pixels, crop_padding=0, flip=False)
        return BatchLoader(images, labels, order=BatchOrder(rows, batch_size=self.batch_size, seed=seed), pixels=pixels)


def _parts(stage: str | None) -> tuple[Part, ...]:
    if stage is None:
        return "fit", "test"
    return ("test",) if stage == "test" else ("fit",)


def _base_seed(given: int | None) -> int:
    if given is not None:
        return given
    return int(os.environ.get("PL_GLOBAL_SEED") or torch.initial_seed())


def stratified(labels: Tensor, seed: int) -> Tensor:
    """All row numbers, ordered so that every run of them holds the classes in the proportions of the whole."""
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        rows = (labels == label).nonzero().flatten()
        place[rows[torch.randperm(len(rows), generator=seeded(seed, "class", int(label)))]] = (
            torch.arange(len(rows), dtype=torch.float64) + 0.5
        ) / len(rows)
    return place.argsort(stable=True)
