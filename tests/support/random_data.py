"""Data of every shape that Lightning takes: plain, augmented at random, endless, in several loaders."""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, WeightedRandomSampler, random_split

POINTS = 14


def _points(seed: int = 0, count: int = POINTS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1


def _drawn(source: str) -> float:
    if source == "torch":
        return float(torch.rand(()))
    return random.random() if source == "python" else float(np.random.rand())


class Augmented(Dataset[Any]):
    """Points that are moved at random by a generator: ``python``, ``numpy``, ``torch``, or none."""

    def __init__(self, source: str = "", seed: int = 0, count: int = POINTS) -> None:
        self.x, self.y = _points(seed, count)
        self.source = source

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        moved = self.x[index] + 0.1 * _drawn(self.source) if self.source else self.x[index]
        return moved, self.y[index]


class Endless(IterableDataset[Any]):
    """An iterable data set, whose order is drawn at random each time it is started."""

    def __init__(self, source: str) -> None:
        self.x, self.y = _points()
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        order = list(range(len(self.x)))
        if self.source:
            random.shuffle(order)
        worker = torch.utils.data.get_worker_info()
        for index in order[worker.id :: worker.num_workers] if worker else order:
            yield self.x[index] + (0.1 * _drawn(self.source) if self.source else 0.0), self.y[index]


class Sized(Endless):
    """With a length."""

    def __len__(self) -> int:
        return POINTS


class OwnBatches(BatchSampler):
    """Batches that a user's own code draws by Python's generator."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[list[int]]:
        order = random.sample(range(self.count), self.count)
        for start in range(0, self.count, self.size):
            yield order[start : start + self.size]

    def __len__(self) -> int:
        return -(-self.count // self.size)


class LazyBatches(OwnBatches):
    """Batches that are drawn as they are needed, and depend on nothing that was drawn before."""

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            yield [random.randrange(self.count) for _ in range(self.size)]


class EpochBatches(OwnBatches):
    """Four batches, then two, then six: as many as the epoch says."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        drawn = random.Random(self.epoch)
        for _ in range(len(self)):
            yield drawn.sample(range(self.count), self.size)

    def __len__(self) -> int:
        return (4, 2, 6)[self.epoch % 3]


_BATCHES = {"own batches": OwnBatches, "lazy batches": LazyBatches, "epoch batches": EpochBatches}


def train_loader(plan: dict[str, Any], seed: int = 0) -> Any:
    """Return one training loader. The points are drawn by ``seed`` and ``points`` of the plan."""
    options: dict[str, Any] = {"num_workers": plan.get("workers", 0)}
    if plan.get("workers"):
        options["persistent_workers"] = bool(plan.get("persistent"))
    source, size = plan.get("augment", ""), plan.get("batch_size", 4)
    order = plan.get("order", "shuffle")
    if order in ("iterable", "sized"):
        return DataLoader((Sized if order == "sized" else Endless)(source), size, **options)
    points: Any = Augmented(source, seed + plan.get("points", 0), plan.get("count", POINTS))
    if plan.get("split"):
        points = random_split(points, [10, POINTS - 10])[0]
    if order in _BATCHES:
        return DataLoader(points, batch_sampler=_BATCHES[order](len(points), size), **options)
    if order == "weighted":
        options["sampler"] = WeightedRandomSampler([1.0 + index for index in range(len(points))], len(points))
    if order == "generator":
        options["generator"] = torch.Generator().manual_seed(3)
    shuffle = order in ("shuffle", "generator")
    return DataLoader(points, size, shuffle=shuffle, drop_last=bool(plan.get("drop_last")), **options)


def train_loaders(plan: dict[str, Any]) -> Any:
    """Return what ``train_dataloader`` returns: a loader, or several in a container."""
    kind = plan.get("loaders", "one")
    if kind == "one":
        return train_loader(plan)
    second = {"order": "shuffle", "count": plan["second"]} if "second" in plan else {}
    loaders = [train_loader(plan), train_loader({**plan, **second}, 1)]
    if kind == "list":
        return loaders
    named = {"a": loaders[0], "b": loaders[1]}
    return named if kind == "dict" else CombinedLoader(named, kind)


def val_loaders(plan: dict[str, Any]) -> Any:
    """Return what ``val_dataloader`` returns."""
    kind = plan.get("val", "one")
    if plan.get("persistent"):
        points = Augmented(plan.get("augment", ""), 9)
        return DataLoader(points, 8, num_workers=1, persistent_workers=True)
    x, y = _points(9, plan.get("val_count", 8))
    data = torch.utils.data.TensorDataset(x, y)
    if kind == "list":
        return [DataLoader(data, 4), DataLoader(data, 8)]
    return DataLoader(data, 4, shuffle=kind == "shuffled")


class RandomData(L.LightningDataModule):
    """Gives what the plan says, and keeps a state of its own."""

    def __init__(self, reading: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.plan = plan = reading
        self.batch_size = plan.get("batch_size", 4)
        self.loaded: Any = collections.deque(maxlen=3)

    def setup(self, stage: str) -> None:
        if self.plan.get("setup_draws"):
            self.shift = torch.rand(3)

    def train_dataloader(self) -> Any:
        self.loaded.append((len(self.loaded), np.float32(0.5)))
        plan = {**self.plan, "batch_size": self.batch_size, "points": self._epoch if "by_epoch" in self.plan else 0}
        if "grows" in plan:
            plan["count"] = POINTS + plan["grows"] * self._epoch
        return train_loaders(plan)

    def val_dataloader(self) -> Any:
        return val_loaders({**self.plan, "val_count": 8 + self.plan.get("val_grows", 0) * self._epoch})

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.plan.get("setup_draws") and isinstance(batch, list) and isinstance(batch[0], Tensor):
            return [batch[0] + 0.1 * self.shift, *batch[1:]]
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"kind": {"odd", "state"}, "plan": tuple(sorted(self.plan))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state != self.state_dict():
            raise ValueError(f"another state: {state}")
