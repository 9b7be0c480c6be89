"""CIFAR-10: 60,000 colour photographs of 32x32 pixels in ten classes (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

import tarfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, download_url

from orchestrator.data import image_cache
from orchestrator.data.batch_loader import Pixels
from orchestrator.data.image_datamodule import CacheDevice, ImageDataModule, Part
from orchestrator.errors import DataError

FILES = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10: 45,000 images for training and 5,000 for validation, and the official 10,000 for testing.

    Batches are (images (N, 3, 32, 32) float32 in [-1, 1], labels (N,) int64), normalised as in W&B's tutorial by
    ``Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))``. torchvision's files in ``data_dir`` are used. Missing ones are
    downloaded, once a node. The MD5 of every file is checked before it is decoded.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        data_dir: the folder with ``cifar-10-batches-py``, or with the official archive.
        batch_size: images in a batch; the last batch of an epoch may have fewer.
        val_size: number of validation images, taken from the 50,000.
        augment: whether to crop each training image at random from a border of 4 black pixels, and to mirror half of
            them.
        seed: determines the order of batches; None uses the seed of ``lightning.seed_everything``.
        split_seed: determines the validation images; separate from ``seed``, so that all trials share the split.
        download: whether missing files may be downloaded.
        cache_device: ``auto`` keeps the images on the trainer's GPU if they take at most a quarter of its free memory;
            ``cpu`` keeps them in host memory.

    Raises:
        DataError: in ``prepare_data``, if files are absent or damaged and cannot be downloaded.
        ValueError: ``batch_size`` or ``val_size`` is out of range.

    Example:
        >>> from orchestrator.data import CIFAR10DataModule
        >>> data = CIFAR10DataModule("./data", batch_size=256, augment=True)  # reads and downloads nothing yet
        >>> data.dims, data.num_classes
        ((3, 32, 32), 10)
    """

    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self,
        data_dir: str = "./data",
        batch_size: int = 128,
        val_size: int = 5000,
        augment: bool = False,
        seed: int | None = None,
        split_seed: int = 0,
        download: bool = True,
        cache_device: CacheDevice = "auto",
    ) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__(
            Pixels(mean=half, std=half, crop_padding=4 if augment else 0, flip=augment),
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            split_seed=split_seed,
            cache_device=cache_device,
        )
        self.dims = (3, 32, 32)
        self.data_dir = Path(data_dir)
        self.download = download

    def prepare_data(self) -> None:
        """Download and decode the training images, unless a process on this node has done so."""
        self.read("fit")

    def read(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return a part's images (N, height, width, channels) uint8 and labels (N,) int64, on the CPU."""
        cached = image_cache.open_or_build(
            f"cifar10-{part}",
            data_dir=self.data_dir,
            source={"dataset": CIFAR10.filename, "md5": CIFAR10.tgz_md5},
            decode=lambda: self._decode(part),
        )
        return torch.from_numpy(cached.images), torch.from_numpy(cached.labels)

    def _decode(self, part: Part) -> image_cache.Arrays:
        self._ensure_files()
        with warnings.catch_warnings():
            # The official pickles hold a NumPy dtype in a form that NumPy 2.4 warns about.
            warnings.filterwarnings("ignore", message=r"dtype\(\)")
            official = CIFAR10(self.data_dir, train=part == "fit")
        return official.data, np.asarray(official.targets, dtype=np.int64)

    def _ensure_files(self) -> None:
        """Unpack or download official files that are absent or have another MD5."""
        faults = _faults(self.data_dir)
        if not faults:
            return
        fault_text = ", ".join(f"{name} {fault}" for name, fault in faults.items())
        archive = self.data_dir / CIFAR10.filename
        hint = (
            f"put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}, from {CIFAR10.url}) into {self.data_dir.absolute()}, or "
            f"{CIFAR10.base_folder}/ with its files {', '.join(FILES)}; or set data_dir to the folder that has them"
        )
        if not self.download and not check_integrity(archive, CIFAR10.tgz_md5):
            raise DataError(f"CIFAR-10 is not complete in {self.data_dir.absolute()} ({fault_text})", hint=hint)
        image_cache.fetch("CIFAR-10", self.data_dir, self._unpack, missing=fault_text, hint=hint)

    def _unpack(self) -> None:
        if not _faults(self.data_dir):
            return  # another process unpacked them meanwhile
        archive = self.data_dir / CIFAR10.filename
        if not check_integrity(archive, CIFAR10.tgz_md5):
            image_cache.announce_download("CIFAR-10", "170 MB", self.data_dir)
            download_url(CIFAR10.url, self.data_dir, CIFAR10.filename, CIFAR10.tgz_md5)
        with tarfile.open(archive) as tar:
            tar.extractall(self.data_dir, filter="data")


def _faults(data_dir: Path) -> dict[str, str]:
    """Return the official files that are ``missing`` or ``damaged`` (have another MD5)."""
    faults = {}
    for name, md5 in FILES.items():
        path = data_dir / CIFAR10.base_folder / name
        if not check_integrity(path, md5):
            faults[name] = "damaged" if path.is_file() else "missing"
    return faults
