"""Validation data read as training reads it: what the formats are compared on, and a fingerprint of all of it."""

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
from orchestrator.training import class_loading

ENOUGH = 512


@dataclass(frozen=True)
class Samples:
    """Inputs of ``forward`` (N, …), the labels (N,) beside them where there are such, and ``source``, what they are."""

    inputs: Tensor
    labels: Tensor | None
    source: str


@dataclass(frozen=True)
class Validation:
    """What was read. ``sha256`` covers all validation data; ``validation`` and ``training`` count samples.

    ``samples`` are up to 512; None where there are none, and ``reason`` says why. ``datamodule`` is the object they
    came from, None for a module with loaders of its own.
    """

    samples: Samples | None
    reason: str = ""
    sha256: str | None = None
    validation: int | None = None
    training: int | None = None
    datamodule: Any = None


def read_validation(config: Mapping[str, Any], module: L.LightningModule) -> Validation:
    """The validation data of the DataModule that ``config`` names, or of the module's own loaders.

    Everything is seeded and built in the order in which a trial does it, so that a split which depends on the seed
    comes out as in training. Where the data cannot be read, samples are noise in the shape of the module's
    ``example_input_array``, if it has one. Test data are not asked for.
    """
    with isolate_rng():
        L.seed_everything(config["seed"], verbose=False)
        try:
            own = class_loading.build(config["model"])
            data = class_loading.build(config["data"]) if config["data"] else own
            return _read(data, config["data"] is None)
        except Exception as error:  # a user's class may raise anything at all
            return Validation(_noise(module), f"the validation data could not be read: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """What an error says, on one line, without secrets."""
    lines = str(error).strip().splitlines()
    return visible(f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__)


def _read(data: Any, is_module: bool) -> Validation:
    if is_module and not is_overridden("val_dataloader", data):
        raise ValueError("there is no DataModule, and the module has no val_dataloader of its own")
    data.prepare_data()
    data.setup("fit")
    gathered, digest = _Gathered(), _Digest()
    with torch.no_grad():
        for batch in _first_loader(data.val_dataloader()):
            digest.add(batch)
            gathered.add(batch)
    samples = gathered.samples()
    owner = None if is_module else data
    return Validation(samples, gathered.reason, digest.hexdigest(), digest.count, _training(data), owner)


def _training(data: Any) -> int | None:
    """Training samples, for the card alone: None where they cannot be counted, whatever the reason."""
    with suppress(Exception):
        return _count(_first_loader(data.train_dataloader()))
    return None


def _first_loader(loaders: Any) -> Any:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return loaders[0] if isinstance(loaders, list | tuple) else loaders


def _count(loader: Any) -> int | None:
    """Samples of a loader, None where it does not say."""
    order = getattr(loader, "order", None)  # as orchestrator.data's loaders have it
    counted = getattr(loader, "dataset", None) if order is None else order.rows
    return len(counted) if isinstance(counted, Sized) else None


def _noise(module: L.LightningModule) -> Samples | None:
    example = module.example_input_array
    if not isinstance(example, Tensor) or not example.is_floating_point() or not example.ndim:
        return None
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(ENOUGH, *example.shape[1:], generator=generator)
    return Samples(noise, None, "noise in the shape of example_input_array")


def as_float32(inputs: Tensor) -> Tensor:
    """Numbers with a fraction as float32, which the formats take; others as they are."""
    return inputs.float() if inputs.is_floating_point() else inputs


class _Gathered:
    """The first inputs, and labels, of the same shape, up to 512."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.reason = ""

    def add(self, batch: Any) -> None:
        inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
        if not isinstance(inputs, Tensor) or not inputs.ndim:
            self.reason = f"a validation batch begins with a {type(inputs).__name__}, not with a tensor"
            return
        rest = ENOUGH - sum(map(len, self.inputs))
        if rest > 0 and (not self.inputs or inputs.shape[1:] == self.inputs[0].shape[1:]):
            self.inputs.append(inputs[:rest].detach().cpu())
            labels = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
            if isinstance(labels, Tensor) and labels.shape == inputs.shape[:1]:
                self.labels.append(labels[:rest].detach().cpu())

    def samples(self) -> Samples | None:
        if not self.inputs:
            self.reason = self.reason or "there are no validation data"
            return None
        inputs, labels = as_float32(torch.cat(self.inputs)), torch.cat(self.labels) if self.labels else None
        whole = labels is not None and len(labels) == len(inputs) and not labels.is_floating_point()
        return Samples(inputs, labels if whole else None, "validation data")


class _Digest:
    """SHA-256 of all tensors in the batches: the same however the samples are cut into batches."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[str, Any] = {}

    def add(self, batch: Any) -> None:
        leaves = list(_leaves(batch, ""))
        self.count += len(leaves[0][1]) if leaves and leaves[0][1].ndim else 1
        for place, tensor in leaves:
            whole = tensor.detach().cpu().contiguous()
            name = f"{place} {whole.dtype} {tuple(whole.shape[1:])}"
            part = self._parts.setdefault(name, hashlib.sha256(name.encode()))
            part.update(whole.reshape(-1).view(torch.uint8).numpy())

    def hexdigest(self) -> str | None:
        """None where the batches hold no tensors."""
        if not self._parts:
            return None
        return hashlib.sha256("\n".join(part.hexdigest() for part in self._parts.values()).encode()).hexdigest()


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch, each with where it is."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping | list | tuple):
        items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, item in items:
            yield from _leaves(item, f"{place}/{name}")
