"""MNIST and Fashion-MNIST: 70,000 grey images of 28x28 pixels in ten classes, read from MNIST's idx files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.datasets import MNIST, FashionMNIST

from orchestrator.data import image_cache
from orchestrator.data.batch_loader import Pixels
from orchestrator.data.image_datamodule import CacheDevice, ImageDataModule, Part
from orchestrator.errors import DataError

NAMES: dict[Part, tuple[str, str]] = {
    "fit": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class MNISTDataModule(ImageDataModule):
    """MNIST: 55,000 handwritten digits for training and 5,000 for validation, and the official 10,000 for testing.

    Batches are (images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64), as by torchvision's ``ToTensor``, before
    ``mean`` and ``std`` are applied. Any files in MNIST's format are accepted, plain or ``.gz``, in ``data_dir`` or in
    torchvision's folder below it.

    Source: http://yann.lecun.com/exdb/mnist/.

    Args:
        data_dir: the folder with the idx files, or with torchvision's ``MNIST/raw``.
        batch_size: images in a batch; the last batch of an epoch may have fewer.
        val_size: number of validation images, taken from the training images.
        mean: subtracted from pixels in [0, 1].
        std: the divisor after that.
        seed: determines the order of batches; None uses the seed of ``lightning.seed_everything``.
        split_seed: determines the validation images; separate from ``seed``, so that all trials share the split.
        download: whether missing files may be downloaded.
        cache_device: ``auto`` keeps the images on the trainer's GPU if they take at most a quarter of its free memory;
            ``cpu`` keeps them in host memory.

    Raises:
        DataError: in ``prepare_data``, if files are absent and cannot be downloaded, or do not hold such images.
        ValueError: ``batch_size`` or ``val_size`` is out of range.

    Example:
        >>> from orchestrator.data import MNISTDataModule
        >>> data = MNISTDataModule("./data", mean=0.1307, std=0.3081)  # reads and downloads nothing yet
        >>> data.dims, data.num_classes
        ((1, 28, 28), 10)
    """

    official: type[MNIST] = MNIST
    download_size = "12 MB"
    system_folders: tuple[Path, ...] = ()

    def __init__(
        self,
        data_dir: str = "./data",
        batch_size: int = 128,
        val_size: int = 5000,
        mean: float = 0.0,
        std: float = 1.0,
        seed: int | None = None,
        split_seed: int = 0,
        download: bool = True,
        cache_device: CacheDevice = "auto",
    ) -> None:
        super().__init__(
            Pixels(mean=(mean,), std=(std,)),
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            split_seed=split_seed,
            cache_device=cache_device,
        )
        self.dims = (1, 28, 28)
        self.data_dir = Path(data_dir)
        self.download = download

    def prepare_data(self) -> None:
        """Download and decode the training images, unless a process on this node has done so."""
        self.read("fit")

    def read(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return a part's images (N, height, width, channels) uint8 and labels (N,) int64, on the CPU."""
        files = self._find(part) or self._fetch(part)
        stats = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
        cached = image_cache.open_or_build(
            f"{self.official.__name__}-{part}".lower(),
            data_dir=self.data_dir,
            source={"files": stats},
            decode=lambda: _decode(files, self.dims, self.num_classes),
        )
        return torch.from_numpy(cached.images), torch.from_numpy(cached.labels)

    def _find(self, part: Part) -> list[Path]:
        """Return the part's files of images and labels in the first folder that has both; empty if none has."""
        raw = self.data_dir / self.official.__name__ / "raw"
        for folder in (self.data_dir, raw, *self.system_folders):
            candidates = ((folder / name, folder / f"{name}.gz") for name in NAMES[part])
            files = [path for pair in candidates for path in pair[: 1 if pair[0].is_file() else 2] if path.is_file()]
            if len(files) == 2:
                return files
        return []

    def _fetch(self, part: Part) -> list[Path]:
        dataset, names = self.official.__name__, " and ".join(NAMES[part])
        archives = ", ".join(f"{name}.gz" for pair in NAMES.values() for name in pair)
        hint = (
            f"put {archives} (or the same unpacked; from {self.official.mirrors[0]}) into {self.data_dir.absolute()}; "
            "or set data_dir to the folder that has them"
        )
        if not self.download:
            raise DataError(f"{dataset}: no {names} in {self.data_dir.absolute()}", hint=hint)
        image_cache.fetch(
            dataset,
            self.data_dir,
            self._download,
            missing=f"no {names}",
            hint=hint,
        )
        return self._find(part)

    def _download(self) -> None:
        image_cache.announce_download(self.official.__name__, self.download_size, self.data_dir)
        self.official(self.data_dir, download=True)


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST: photographs of clothes in MNIST's format, with the split and arguments of `MNISTDataModule`.

    The files of Debian's package ``dataset-fashion-mnist`` are used if it is installed.

    Source: https://github.com/zalandoresearch/fashion-mnist.

    Example:
        >>> from orchestrator.data import FashionMNISTDataModule
        >>> FashionMNISTDataModule("./data").class_names[:2]  # reads and downloads nothing yet
        ('T-shirt/top', 'Trouser')
    """

    official = FashionMNIST
    download_size = "30 MB"
    system_folders = (Path("/usr/share/datasets/fashion-mnist"),)
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


def _decode(files: Sequence[Path], dims: tuple[int, int, int], num_classes: int) -> image_cache.Arrays:
    images, labels = (read_idx(path) for path in files)
    if images.shape[1:] != dims[1:] or labels.shape != images.shape[:1]:
        raise DataError(
            f"{files[0]} and {files[1]} hold arrays of shape {images.shape} and {labels.shape}, "
            f"not (N, {dims[1]}, {dims[2]}) images and (N,) labels"
        )
    if labels.size == 0 or labels.max() >= num_classes:
        raise DataError(f"{files[1]} holds no labels, or labels that are not in 0 … {num_classes - 1}")
    return images[..., None], labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[Any]:
    """Return the uint8 array in an idx file, plain or compressed by gzip.

    The format: two zero bytes, the element type (8 for uint8), the number of dimensions, each dimension as a big-endian
    uint32, the elements.

    Raises:
        DataError: the file cannot be read, or has another format.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="download the file again") from error
    rank = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(data, ">u4", rank, 4) if len(data) >= 4 + 4 * rank else np.array([-1])
    if rank == 0 or len(data) != 4 + 4 * rank + shape.prod(dtype=np.int64):
        raise DataError(f"{path} is not a complete idx file of bytes", hint="download the file again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape([int(size) for size in shape])
