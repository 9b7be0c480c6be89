"""The base class of the image DataModules: splits, loaders, seeds, and the device that holds the images."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import lightning as L
import torch
from torch import Tensor

from orchestrator.data.batch_loader import BatchLoader, BatchOrder, Pixels, base_seed, seeded_generator

Part = Literal["fit", "test"]
CacheDevice = Literal["auto", "cpu"]

# Several trials may share a GPU, and the model needs memory, too.
LARGEST_SHARE_OF_FREE_MEMORY = 0.25


class ImageDataModule(L.LightningDataModule):
    """Loaders over decoded images. A subclass defines :meth:`read` and ``dims``.

    Batches are ordered by (base seed, epoch) alone. The base seed is ``seed``, else ``PL_GLOBAL_SEED``, which
    ``lightning.seed_everything`` sets, else torch's. ``setup("fit")`` reads no test images, and ``predict_dataloader``
    returns the validation images: only ``test_dataloader`` returns test images.

    Attributes:
        dims: (channels, height, width) of an image.
        num_classes: the number of classes.
        class_names: the name of each class.
        batch_size: images in a batch.
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
        """Return a part's images (N, height, width, channels) uint8 and labels (N,) int64, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} must define read()")

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row numbers of the training and the validation images in the ``fit`` part, by ``split_seed``.

        They are those of torch's ``random_split`` with a generator of that seed.

        Raises:
            ValueError: ``val_size`` is not between 1 and the number of images less 1.
        """
        count = len(labels)
        if not 0 < self.val_size < count:
            raise ValueError(f"`0 < val_size < {count}` must hold, but got val_size={self.val_size}")
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(self.split_seed))
        return rows[: count - self.val_size], rows[count - self.val_size :]

    def setup(self, stage: str | None = None) -> None:
        """Read the images of ``stage``: fit, validate, test, predict, or None for all."""
        for part in _parts(stage):
            self._arrays(part)

    def teardown(self, stage: str) -> None:
        """Free the images, also those on a GPU. A later loader reads them again."""
        self._read.clear()

    def train_dataloader(self) -> BatchLoader:
        """Return the training batches, shuffled in each epoch and augmented."""
        # Trainer(overfit_batches=…) needs the same batches in every epoch.
        overfit = self.trainer is not None and bool(self.trainer.overfit_batches)  # type: ignore[attr-defined]
        return self._loader("fit", validation=False, seed=None if overfit else base_seed(self.seed))

    def val_dataloader(self) -> BatchLoader:
        """Return the validation batches, in a fixed order."""
        return self._loader("fit", validation=True)

    def predict_dataloader(self) -> BatchLoader:
        """Return the validation batches."""
        return self._loader("fit", validation=True)

    def test_dataloader(self) -> BatchLoader:
        """Return the test batches, in a fixed order."""
        return self._loader("test")

    def _arrays(self, part: Part) -> tuple[Tensor, Tensor]:
        if part not in self._read:
            images, labels = self.read(part)
            device = self._device(images)
            self._read[part] = images.to(device), labels.to(device)
        return self._read[part]

    def _device(self, images: Tensor) -> torch.device:
        """Return the trainer's GPU if it has one with enough free memory, else the CPU."""
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


def stratified(labels: Tensor, seed: int) -> Tensor:
    """Return all row numbers, ordered so that every contiguous part has the classes in the same proportions."""
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        rows = (labels == label).nonzero().flatten()
        shuffled = rows[torch.randperm(len(rows), generator=seeded_generator(seed, "class", int(label)))]
        position[shuffled] = (torch.arange(len(rows), dtype=torch.float64) + 0.5) / len(rows)
    return position.argsort(stable=True)
