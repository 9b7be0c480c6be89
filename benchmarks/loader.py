"""Compare our input path with the tutorial's DataLoader: images a second, one process, same images and batch size.

Usage: python benchmarks/loader.py [--data-dir DIR] [--images N] [--repeats N]

The tutorial's path: torchvision's CIFAR10, PIL, ToTensor, Normalize, a shuffling DataLoader without workers. Ours:
CIFAR10DataModule's train_dataloader, its images decoded beforehand. Both give float32 batches in [-1, 1]. Repetitions
alternate, so that a busy machine slows both; the figure is the median over repetitions of the ratio. Prints one line
for people, then one of JSON; exits with 1 if a ratio is below the target. Without CIFAR-10 in DIR the images are
random ones of the same size, and the lines say so.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import CIFAR10

from orchestrator.data import CIFAR10DataModule
from orchestrator.data.batch_loader import BatchLoader, BatchOrder, Pixels

TARGET = 12.0
HALF = (0.5, 0.5, 0.5)
BATCH_SIZES = (32, 128)


class Synthetic(CIFAR10):  # type: ignore[misc]
    """Random images in torchvision's own class: everything after the reading of the files is as with the real ones."""

    def __init__(self, transform: Any) -> None:
        random = np.random.default_rng(0)
        self.data = random.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
        self.targets = random.integers(0, 10, 50_000).tolist()
        self.transform, self.target_transform = transform, None


def open_tutorial(data_dir: Path) -> tuple[CIFAR10, bool]:
    """Return the tutorial's data set, and whether its images are the real ones."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(HALF, HALF)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\)")
        try:
            return CIFAR10(data_dir, train=True, transform=transform), True
        except RuntimeError:
            return Synthetic(transform), False


def open_ours(tutorial: CIFAR10, real: bool, data_dir: Path, batch_size: int) -> BatchLoader:
    if real:
        return CIFAR10DataModule(str(data_dir), batch_size=batch_size, seed=0, download=False).train_dataloader()
    images, labels = torch.from_numpy(tutorial.data), torch.tensor(tutorial.targets)
    order = BatchOrder(torch.randperm(50_000)[:45_000], batch_size=batch_size, seed=0)
    return BatchLoader(images, labels, order=order, pixels=Pixels(mean=HALF, std=HALF))


def rate(loader: Iterable[tuple[torch.Tensor, torch.Tensor]], limit: int) -> float:
    """Return images a second over the first ``limit`` images, the start of the iteration included."""
    count, start = 0, time.perf_counter()
    for images, _ in loader:
        count += len(images)
        if count >= limit:
            break
    return count / (time.perf_counter() - start)


def compare(data_dir: Path, batch_size: int, images: int, repeats: int) -> dict[str, Any]:
    tutorial, real = open_tutorial(data_dir)
    theirs = DataLoader(Subset(tutorial, range(45_000)), batch_size=batch_size, shuffle=True)
    ours = open_ours(tutorial, real, data_dir, batch_size)
    rate(theirs, 1000), rate(ours, 45_000)
    # Ours is timed over a whole epoch, as a part of one would be over before a clock tick of the scheduler.
    pairs = [(rate(theirs, images), rate(ours, 45_000)) for _ in range(repeats)]
    return {
        "batch_size": batch_size,
        "images": "CIFAR-10" if real else "synthetic",
        "repeats": repeats,
        "tutorial_images_per_s": round(statistics.median(pair[0] for pair in pairs)),
        "ours_images_per_s": round(statistics.median(pair[1] for pair in pairs)),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 1),
        "ratios": [round(pair[1] / pair[0], 1) for pair in pairs],
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


def describe(about: dict[str, Any]) -> str:
    figures = ", ".join(
        f"{result['ratio']}x at batch {result['batch_size']} "
        f"({result['ours_images_per_s']:,} over {result['tutorial_images_per_s']:,} images/s)"
        for result in about["results"]
    )
    first = about["results"][0]
    return (
        f"loader: {figures}; target {TARGET:g}x; {first['images']} images, median of {first['repeats']}, one thread, "
        f"{about['processor']}, torch {about['torch']}, torchvision {about['torchvision']}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("./data"), help="where cifar-10-batches-py is")
    parser.add_argument("--images", type=int, default=10_000, help="images a repetition of the tutorial's path")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [compare(options.data_dir, size, options.images, options.repeats) for size in BATCH_SIZES]
    about = {
        "benchmark": "loader",
        "target": TARGET,
        "results": results,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    print(describe(about))
    print(json.dumps(about))
    return 0 if all(result["ratio"] >= TARGET for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
