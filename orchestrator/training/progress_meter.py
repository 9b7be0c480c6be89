"""Count what a trial has trained on: optimizer steps, samples, and seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from orchestrator.training.checkpoint_saver import epochs_trained
from orchestrator.training.live_writer import LiveWriter, Moment, finite


class ProgressMeter(L.Callback):
    """Counts steps, samples and seconds, over all segments of a trial.

    ``step`` is Lightning's ``global_step``. A module that optimizes by hand with several optimizers steps each of them;
    Lightning adds these up, and here the optimizer with the most steps counts. ``samples`` counts every rank's batches
    by the first dimension of a batch's first tensor. ``seconds`` is the time between the start of training and now
    without validation, checkpoints and reports; waiting for data is part of it.
    """

    def __init__(self) -> None:
        self._by_hand: Counter[int] = Counter()
        self._samples_before = 0
        self._samples = 0  # in this process, since the segment began
        self._seconds = 0.0
        self._since: float | None = None
        self._validated, self._to_validate = 0, 0.0  # batches
        self.live: LiveWriter | None = None
        """Shows the counts while the segment trains."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._start()
        if self.live is not None:
            self.live.begin(trainer, self._moment(trainer, self.live.origin))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the batch was awaited."""
        if self.live is not None:
            self.live.loaded()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's samples."""
        self._samples += batch_size(batch)
        if self.live is not None and self.live.trained(outputs):
            self.live.note(self._moment(trainer, epochs_trained(trainer)))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Count a step of one of several optimizers."""
        if not pl_module.automatic_optimization:
            self._by_hand[next((n for n, each in enumerate(trainer.optimizers) if each is optimizer), 0)] += 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stop()
        if self.live is not None and not trainer.sanity_checking:
            self._validated, self._to_validate = 0, sum(trainer.num_val_batches)
            self.live.validate(0, finite(self._to_validate))

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Count a batch of the validation."""
        if self.live is not None and not trainer.sanity_checking:
            self._validated += 1
            self.live.validate(self._validated, finite(self._to_validate))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock again, unless this is the check before training."""
        if not trainer.sanity_checking:
            self._start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand still."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def read(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return ``step``, ``samples`` and ``seconds``. All ranks have to call it."""
        return {"step": self._steps(trainer), "samples": self._total(trainer), "seconds": self._elapsed()}

    def estimate(self, unit: str, trainer: L.Trainer) -> float:
        """Return ``samples`` or ``seconds`` by what this process alone counts."""
        samples = self._samples_before + self._samples * trainer.world_size
        return float(samples) if unit == "samples" else self._elapsed()

    def state(self, read: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the next segment continues to count from, given what was read."""
        return {"samples": read["samples"], "seconds": read["seconds"], "by_hand": dict(self._by_hand)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._samples_before, self._seconds = int(state.get("samples", 0)), float(state.get("seconds", 0.0))
        self._by_hand = Counter(state.get("by_hand", {}))

    def _moment(self, trainer: L.Trainer, epoch: float) -> Moment:
        """Return the counts by what this process alone knows."""
        place = {
            "epoch": epoch,
            "step": self._steps(trainer),
            "samples": self.estimate("samples", trainer),
            "seconds": self._elapsed(),
        }
        batches = finite(trainer.num_training_batches)
        return Moment(place, trainer.fit_loop.batch_idx + 1, batches)

    def _steps(self, trainer: L.Trainer) -> int:
        return int(max(self._by_hand.values()) if self._by_hand else trainer.global_step)

    def _elapsed(self) -> float:
        return self._seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def _start(self) -> None:
        self._since = time.perf_counter()
        if self.live is not None:
            self.live.idle()

    def _stop(self) -> None:
        if self._since is not None:
            self._seconds += time.perf_counter() - self._since
        self._since = None

    def _total(self, trainer: L.Trainer) -> int:
        if trainer.world_size == 1:
            return self._samples_before + self._samples
        ranks: list[Any] = [0] * trainer.world_size
        dist.all_gather_object(ranks, self._samples)
        return self._samples_before + int(sum(ranks))


def batch_size(batch: Any) -> int:
    """Return the samples of a batch: the first dimension of its first tensor, or what a batch object says of itself.

    A batch of graphs says ``num_graphs``, or has a length. Without any, it is the batch's length or 1.
    """
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    tensor = first if isinstance(first, Tensor) else next(_tensors(batch), None)  # a generator takes 2 us
    if first is not tensor and (said := _said_size(first)):
        return said
    if tensor is not None:
        size: int = tensor.shape[0] if tensor.ndim else 1
        return size
    return len(batch) if isinstance(batch, list | tuple) else int(batch is not None)


def _said_size(value: Any) -> int:
    """Return how many samples an object of a library's says that it holds; 0 if it says nothing."""
    if isinstance(value, Mapping | Sequence | Tensor | type):
        return 0
    size = getattr(value, "num_graphs", None)
    if size is None and hasattr(value, "__dataclass_fields__") and hasattr(value, "__len__"):
        size = len(value)
    return size if type(size) is int else 0


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        yield from _tensors([getattr(value, name, None) for name in value.__dataclass_fields__])
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield from _tensors(item)
