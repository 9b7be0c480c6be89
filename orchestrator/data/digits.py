"""Digits: 1,797 real handwritten digits of 8x8 pixels that come with scikit-learn. Needs no network."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from orchestrator.data.batch_loader import Pixels
from orchestrator.data.image_datamodule import CacheDevice, ImageDataModule, Part, stratified


class DigitsDataModule(ImageDataModule):
    """Handwritten digits of any size: 1,257 for training, 270 for validation and 270 for testing, stratified by class.

    Batches are (images (N, channels, image_size, image_size) float32 in [-1, 1], labels (N,) int64). The images are
    resized once (bilinear).

    Source: the test part of https://archive.ics.uci.edu/dataset/80, by ``sklearn.datasets.load_digits``.

    Args:
        batch_size: images in a batch; the last batch of an epoch may have fewer.
        image_size: height and width in pixels.
        channels: number of channels, each the same grey image.
        val_size: number of validation images.
        test_size: number of test images.
        seed: determines the order of batches; None uses the seed of ``lightning.seed_everything``.
        split_seed: determines the validation and test images; separate from ``seed``, so that all trials share them.
        cache_device: ``auto`` keeps the images on the trainer's GPU if they take at most a quarter of its free memory;
            ``cpu`` keeps them in host memory.

    Raises:
        ValueError: a size is out of range.

    Example:
        >>> from orchestrator.data import DigitsDataModule
        >>> data = DigitsDataModule(batch_size=64, image_size=16, channels=1)
        >>> data.setup("fit")
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> tuple(images.shape), tuple(labels.shape)
        ((64, 1, 16, 16), (64,))
    """

    def __init__(
        self,
        batch_size: int = 32,
        image_size: int = 32,
        channels: int = 3,
        val_size: int = 270,
        test_size: int = 270,
        seed: int | None = None,
        split_seed: int = 0,
        cache_device: CacheDevice = "auto",
    ) -> None:
        super().__init__(
            Pixels(mean=(0.5,) * channels, std=(0.5,) * channels),
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            split_seed=split_seed,
            cache_device=cache_device,
        )
        if image_size < 1 or channels < 1:
            raise ValueError(f"sizes must be >= 1, but got image_size={image_size}, channels={channels}")
        self.dims = (channels, image_size, image_size)
        self.test_size = test_size

    def read(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return a part's images (N, height, width, channels) uint8 and labels (N,) int64, on the CPU."""
        labels = _digits(self.dims[1])[1]
        if min(self.val_size, self.test_size) < 1 or self.val_size + self.test_size >= len(labels):
            raise ValueError(
                f"`val_size >= 1`, `test_size >= 1` and `val_size + test_size < {len(labels)}` must hold, "
                f"but got val_size={self.val_size}, test_size={self.test_size}"
            )
        return _part(part, self.dims, test_size=self.test_size, split_seed=self.split_seed)

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row numbers of the training and the validation images, which :meth:`read` returns stratified."""
        rows = torch.arange(len(labels))
        return rows[self.val_size :], rows[: self.val_size]


@functools.lru_cache(maxsize=4)
def _part(part: Part, dims: tuple[int, int, int], *, test_size: int, split_seed: int) -> tuple[Tensor, Tensor]:
    """Return one part's images and labels; cached for the process's later trials, and never written to."""
    images, labels = _digits(dims[1])
    rows = stratified(labels, split_seed)
    chosen = rows[:test_size] if part == "test" else rows[test_size:]
    return images[chosen].expand(-1, -1, -1, dims[0]).contiguous(), labels[chosen]


@functools.cache
def _digits(image_size: int) -> tuple[Tensor, Tensor]:
    """Return all images (1797, image_size, image_size, 1) uint8 and labels; cached for the process's later trials."""
    from sklearn.datasets import load_digits

    official = load_digits()
    grey = torch.from_numpy(official.images).to(torch.float32).unsqueeze(1) * (255 / 16)
    resized = torch.nn.functional.interpolate(grey, size=image_size, mode="bilinear", antialias=True)
    pixels = resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return pixels, torch.from_numpy(official.target).to(torch.int64)
