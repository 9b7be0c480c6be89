"""What a checkpoint within an epoch holds beyond Lightning's, so that a resumed run equals an unbroken one."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from orchestrator.training import compat_lightning as compat
from orchestrator.training.data_position import DataPosition
from orchestrator.training.random_state import loader_generators, random_state, set_random_state

State = dict[str, Any]


class MidEpochState:
    """The state of a Trainer between two batches: data, random numbers, metrics so far, gradients that wait.

    Each rank has its own; the checkpoint holds all of them.

    Args:
        trainer: its loops are watched from now on.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._trainer = trainer
        self._data = DataPosition(trainer)
        self._start: State | None = None

    def state(self, *, whole_epoch: bool) -> list[State]:
        """Return the state of each rank. Empty after a whole epoch, which the next one does not depend on."""
        if whole_epoch:
            return []
        own = self._within_epoch()
        own = move_data_to_device(own, torch.device("cpu"))
        if self._trainer.world_size == 1:
            return [own]
        ranks: list[Any] = [None] * self._trainer.world_size
        dist.all_gather_object(ranks, own)
        return ranks

    def start_from(self, ranks: list[State]) -> None:
        """Continue from what `state` returned, once the loaders are made."""
        own = ranks[self._trainer.global_rank % len(ranks)] if ranks else None
        self._start = own
        self._data.start_from(own["data"] if own else None)

    @property
    def continues(self) -> bool:
        """Whether the segment is to start within an epoch."""
        return self._start is not None

    def restore(self) -> None:
        """Restore all but the data's place, which the loaders took as they started. The random state comes last."""
        self._data.started()
        start, self._start = self._start, None
        if start is None:
            return
        module = self._trainer.lightning_module
        compat.continue_within_epoch(self._trainer, start["stepped"])
        compat.set_logged_so_far(self._trainer, module, start["logged"])
        _set_metric_states(module, start["metrics"])
        for parameter, gradient in zip(module.parameters(), start["gradients"], strict=False):
            if gradient is not None:
                parameter.grad = gradient.to(parameter.device)
        set_random_state(start["random"], loader_generators(self._trainer.train_dataloader))

    def _within_epoch(self) -> State:
        module = self._trainer.lightning_module
        keeps = compat.is_accumulating(self._trainer)
        return {
            "data": self._data.state(),
            "random": random_state(loader_generators(self._trainer.train_dataloader)),
            "logged": compat.logged_so_far(self._trainer),
            "metrics": _metric_states(module),
            "stepped": compat.stepped_batches(self._trainer),
            "gradients": [_detached(p.grad) for p in module.parameters()] if keeps else [],
        }


def _detached(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.detach()


def _metric_states(module: torch.nn.Module) -> dict[str, State]:
    """Return the state of the module's torchmetrics objects, which a module's own state leaves out."""
    for part in module.modules():
        if isinstance(part, MetricCollection):
            list(part.values())  # gives members of one group, which share a state, each its own
    return {
        name: {"state": dict(part.metric_state), "updates": part.update_count, "last": part._forward_cache}
        for name, part in module.named_modules()
        if isinstance(part, Metric)
    }


def _set_metric_states(module: torch.nn.Module, states: dict[str, State]) -> None:
    for name, part in module.named_modules():
        if isinstance(part, Metric) and name in states:
            for key, value in states[name]["state"].items():
                setattr(part, key, _on(value, part.device))
            part._update_count = states[name]["updates"]
            part._forward_cache = _on(states[name]["last"], part.device)


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return [_on(item, device) for item in value] if isinstance(value, list) else value
