"""Read validation data as training does: samples to compare formats on, and a digest of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from orchestrator.safe_text import visible
from orchestrator.training.trained_parts import build_parts

MAX_SAMPLES = 512


@dataclass(frozen=True)
class Samples:
    """Inputs of ``forward`` (N, …), their labels (N,) or None, and ``source``, the origin of the inputs."""

    inputs: Tensor
    labels: Tensor | None
    source: str


@dataclass(frozen=True)
class Validation:
    """Validation data.

    Attributes:
        samples: up to 512 samples; None if there are none.
        reason: why there are no samples.
        sha256: digest of all validation data.
        validation: number of validation samples.
        training: number of training samples.
        datamodule: the DataModule; None for a module with loaders of its own.
    """

    samples: Samples | None
    reason: str = ""
    sha256: str | None = None
    validation: int | None = None
    training: int | None = None
    datamodule: Any = None


def read_validation(config: Mapping[str, Any], module: L.LightningModule) -> Validation:
    """Return the validation data of the DataModule that ``config`` names, or of the module's own loaders.

    Everything is seeded and built in the order of a trial, so that a split which depends on the seed is that of the
    training. If the data cannot be read, samples are noise in the shape of the module's ``example_input_array``, if it
    has one. Test data are not read.
    """
    with isolate_rng():
        L.seed_everything(config["seed"], verbose=False)
        try:
            own, built, _ = build_parts(config["model"], config["data"])
            return _read(own, True) if built is None else _read(built, False)
        except Exception as error:  # a user's class may raise any error
            return Validation(_noise(module), f"the validation data could not be read: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Return type and first line of an error, with control characters escaped."""
    lines = str(error).strip().splitlines()
    return visible(f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__)


def _read(data: Any, is_module: bool) -> Validation:
    if is_module and not is_overridden("val_dataloader", data):
        raise ValueError("the sweep has no DataModule, and the module has no val_dataloader")
    data.prepare_data()
    data.setup("fit")
    buffer, digest = _SampleBuffer(), _Digest()
    with torch.no_grad():
        for batch in _first_loader(data.val_dataloader()):
            digest.add(batch)
            buffer.add(batch)
    samples = buffer.samples()
    owner = None if is_module else data
    return Validation(samples, buffer.reason, digest.hexdigest(), digest.count, _training(data), owner)


def _training(data: Any) -> int | None:
    """Return the number of training samples, None if they cannot be counted. It is for the model card only."""
    with suppress(Exception):
        return _count(_first_loader(data.train_dataloader()))
    return None


def _first_loader(loaders: Any) -> Any:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[0] if isinstance(loaders, list | tuple) else loaders


def _count(loader: Any) -> int | None:
    """Return the number of samples of a loader, None if it is unknown."""
    order = getattr(loader, "order", None)  # as orchestrator.data's loaders have it
    samples = getattr(loader, "dataset", None) if order is None else order.rows
    return len(samples) if isinstance(samples, Sized) else None


def _noise(module: L.LightningModule) -> Samples | None:
    example = module.example_input_array
    if not isinstance(example, Tensor) or not example.is_floating_point() or not example.ndim:
        return None
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(MAX_SAMPLES, *example.shape[1:], generator=generator)
    return Samples(noise, None, "noise in the shape of example_input_array")


def as_float32(inputs: Tensor) -> Tensor:
    """Return floating-point inputs as float32, which the formats take, and others unchanged."""
    return inputs.float() if inputs.is_floating_point() else inputs


class _SampleBuffer:
    """The first inputs of the same shape with their labels, up to 512."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.reason = ""

    def add(self, batch: Any) -> None:
        inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
        if not isinstance(inputs, Tensor) or not inputs.ndim:
            self.reason = f"a validation batch begins with a {type(inputs).__name__}, not with a tensor"
            return
        room = MAX_SAMPLES - sum(map(len, self.inputs))
        if room > 0 and (not self.inputs or inputs.shape[1:] == self.inputs[0].shape[1:]):
            self.inputs.append(inputs[:room].detach().cpu())
            labels = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
            if isinstance(labels, Tensor) and labels.shape == inputs.shape[:1]:
                self.labels.append(labels[:room].detach().cpu())

    def samples(self) -> Samples | None:
        if not self.inputs:
            self.reason = self.reason or "there are no validation data"
            return None
        inputs, labels = as_float32(torch.cat(self.inputs)), torch.cat(self.labels) if self.labels else None
        usable = labels is not None and len(labels) == len(inputs) and not labels.is_floating_point()
        return Samples(inputs, labels if usable else None, "validation data")


class _Digest:
    """SHA-256 of all tensors in the batches, independent of the batch size."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[str, Any] = {}

    def add(self, batch: Any) -> None:
        leaves = list(_leaves(batch, ""))
        self.count += len(leaves[0][1]) if leaves and leaves[0][1].ndim else 1
        for place, tensor in leaves:
            contiguous = tensor.detach().cpu().contiguous()
            name = f"{place} {contiguous.dtype} {tuple(contiguous.shape[1:])}"
            part = self._parts.setdefault(name, hashlib.sha256(name.encode()))
            part.update(contiguous.reshape(-1).view(torch.uint8).numpy())

    def hexdigest(self) -> str | None:
        """Return the digest; None if the batches hold no tensors."""
        if not self._parts:
            return None
        return hashlib.sha256("\n".join(part.hexdigest() for part in self._parts.values()).encode()).hexdigest()


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a batch, each with its place in it."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping | list | tuple):
        items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, item in items:
            yield from _leaves(item, f"{place}/{name}")
