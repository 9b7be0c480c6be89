"""Build whole batches by tensor operations: gather, crop, flip and normalise N images at once, in a seeded order.

A torch ``DataLoader`` handles one sample at a time and then collates. Here a batch is one gather from the decoded
images and a few operations over all of them, so no worker processes are needed. :class:`BatchLoader` is a plain
iterable with a length, which Lightning accepts. Unlike a ``DataLoader``, which draws a seed each time it is iterated,
it does not use the global random state, and Lightning does not warn about missing workers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def seeded_generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator whose seed depends on ``parts`` alone, on every machine and in every process."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def base_seed(seed: int | None) -> int:
    """Return a loader's seed; for None that of ``lightning.seed_everything``, else torch's."""
    if seed is not None:
        return seed
    return int(os.environ.get("PL_GLOBAL_SEED") or torch.initial_seed())


class BatchOrder:
    """The rows of each batch of an epoch: an iterable of (at most batch_size,) int64 tensors.

    Every row occurs once, and the last batch may be smaller. If ``torch.distributed`` is initialised, each rank gets
    every world-size-th row. In a shuffled order the first rows are then repeated until all ranks have the same number,
    since gradients are averaged step by step.

    Args:
        rows: row numbers, (rows,) int64.
        batch_size: rows in a batch.
        seed: shuffles the rows in each epoch, by (seed, epoch) alone; None keeps their order.
    """

    def __init__(self, rows: Tensor, *, batch_size: int, seed: int | None = None) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of finished epochs; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._share(self.rows)) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        rows = self.rows
        if self.seed is not None:
            rows = rows[torch.randperm(len(rows), generator=seeded_generator(self.seed, "order", self.epoch))]
        yield from torch.split(self._share(rows), self.batch_size)

    def _share(self, rows: Tensor) -> Tensor:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return rows
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        missing = -len(rows) % ranks if self.seed is not None else 0
        return torch.cat([rows, rows[:missing]])[rank::ranks]


@dataclass(frozen=True)
class Pixels:
    """The conversion of uint8 images to float ones, with augmentation.

    Attributes:
        mean: of pixels in [0, 1], one value for each channel, as in torchvision's ``Normalize``.
        std: as ``mean``.
        crop_padding: width in pixels of a black border from which images are cropped at random; 0 crops nothing.
        flip: whether to mirror a random half of the images.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False

    @property
    def augments(self) -> bool:
        """Whether images are cropped or mirrored."""
        return self.flip or self.crop_padding > 0

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Crop and mirror each of ``images`` (N, height, width, channels) by draws from ``generator``, a CPU one."""
        count, height, width, _ = images.shape
        pad, device = self.crop_padding, images.device
        draws = torch.randint(2 * pad + 1, (2, count, 1), generator=generator)
        mirrored = torch.randint(2, (count, 1), generator=generator).bool() & self.flip
        row = torch.arange(height) + draws[0]
        across = torch.arange(width)
        column = torch.where(mirrored, across.flip(0), across) + draws[1]
        padded = torch.nn.functional.pad(images, (0, 0, pad, pad, pad, pad)) if pad else images
        # One flat gather of pixels: the index of (image, row, column) in the padded batch.
        start = torch.arange(count).view(-1, 1, 1) * (height + 2 * pad) + row.unsqueeze(2)
        pixel = start * (width + 2 * pad) + column.unsqueeze(1)
        return padded.flatten(0, 2).index_select(0, pixel.flatten().to(device)).view_as(images)

    def normalise(self, images: Tensor) -> Tensor:
        """Convert (N, height, width, channels) uint8 to (N, channels, height, width) float32, channels-last memory."""
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        if len(set(self.mean)) == len(set(self.std)) == 1:  # arithmetic with scalars is the fastest
            return x.mul_(1 / (255 * self.std[0])).sub_(self.mean[0] / self.std[0])
        std = torch.tensor(self.std, device=x.device).view(-1, 1, 1)
        mean = torch.tensor(self.mean, device=x.device).view(-1, 1, 1)
        return x.mul_(1 / (255 * std)).sub_(mean / std)


class BatchLoader:
    """An iterable of (images (N, channels, height, width) float32, labels (N,) int64), on the device of ``images``.

    Crops and flips are drawn by (seed, epoch, batch number) alone, so that a resumed run has the batches of an
    uninterrupted one.

    Args:
        images: (rows, height, width, channels) uint8.
        labels: (rows,) int64, on the device of ``images``.
        order: the rows of each batch.
        pixels: normalisation and augmentation.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, order: BatchOrder, pixels: Pixels) -> None:
        self.images = images
        self.labels = labels
        self.order = order
        self.pixels = pixels
        self.batch_size = order.batch_size
        self._batches = self._skipped = 0
        if order.seed is not None:
            # Lightning calls `set_epoch` of this attribute, and takes a sampler of any class for a shuffled one.
            self.sampler = order

    def __len__(self) -> int:
        return len(self.order)

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the present epoch were read, and their size."""
        return {"batches": self._batches, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iterator begin after the batches of a state; of another size than its own, rounded down."""
        self._batches = self._skipped = state["batches"] * state["batch_size"] // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        skipped, self._skipped = self._skipped, 0
        self._batches = skipped
        for number, rows in enumerate(self.order):
            if number < skipped:
                continue
            self._batches = number + 1
            rows = rows.to(self.images.device)
            images = self.images.index_select(0, rows)
            if self.pixels.augments:
                images = self.pixels.augment(
                    images, seeded_generator(self.order.seed or 0, "augment", self.order.epoch, number)
                )
            yield self.pixels.normalise(images), self.labels.index_select(0, rows)
        self._batches = 0
