"""Restore in a resumed segment what Lightning's own resume loses, so that it continues as an uninterrupted run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from lightning.pytorch.plugins.precision import DoublePrecision
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Optimizer
from torchmetrics import Metric

from orchestrator.training.compat_lightning import (
    checkpoint_memory,
    original_layers,
    resume_weight_averaging,
    set_checkpoint_memory,
)
from orchestrator.training.epoch_start import attribute_names, set_missing_attributes

_KEY = "orchestrator.resume"  # of this callback's state in the checkpoint


class ExactResume(L.Callback):
    """Restores which parts of the module train, and completes the resume of Lightning's callbacks.

    Parameters that do not require gradients and modules in evaluation mode are restored before the first epoch's hooks:
    a ``BaseFinetuning`` callback, for example, unfreezes layers in one epoch alone. Lightning's ``ModelPruning`` saves
    the pruned weights, but its next pruning needs all weights and the masks. ``StochasticWeightAveraging`` restores no
    schedule in the epoch that updates the statistics of batch norm. ``ModelCheckpoint`` forgets at which step it has
    saved. The optimizers' state keeps its types.

    It must come before all other callbacks.

    Args:
        trial: the state of a checkpoint of another trial is ignored, except for what is pruned.
        resumes: whether the segment starts from a checkpoint.
    """

    def __init__(self, trial: int, *, resumes: bool) -> None:
        self._trial, self._resumes = trial, resumes
        self._state: dict[str, Any] = {}  # of the checkpoint
        self._optimizers: list[dict[str, Any]] = []  # of the checkpoint

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state under a key of its own, which a plain Trainer ignores."""
        checkpoint[_KEY] = {
            "trial": self._trial,
            "frozen": [name for name, each in pl_module.named_parameters() if not each.requires_grad],
            "evaluated": [name for name, part in pl_module.named_modules() if name and not part.training],
            "pruned": _pruned(pl_module) if any(_of(trainer, ModelPruning)) else {},
            "saved": [checkpoint_memory(callback) for callback in _of(trainer, ModelCheckpoint)],
            "metric_types": {name: metric.dtype for name, metric in _metrics(pl_module)},
            "attributes": attribute_names(trainer, pl_module),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the state until the optimizers have the parameters in their usual order."""
        self._state = (checkpoint.get(_KEY) or {}) if self._resumes else {}
        self._optimizers = checkpoint.get("optimizer_states", []) if self._resumes else []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the optimizers' state the types that it was saved with; torch loads it in those of the parameters."""
        saved, self._optimizers = self._optimizers, []
        if trainer.world_size == 1:
            for optimizer, state in zip(trainer.optimizers, saved, strict=False):
                _restore_types(optimizer, state)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prune again, and let weight averaging resume in its last epoch."""
        if not self._resumes:
            return
        for name, pruned in self._state.get("pruned", {}).items():
            _prune(pl_module, name, pruned)
        for pruning in _of(trainer, ModelPruning) if self._state.get("pruned") else ():
            _share_original_layers(pruning)
        for averaging in _of(trainer, StochasticWeightAveraging):
            resume_weight_averaging(averaging)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze what was frozen at the checkpoint, and nothing else."""
        state, self._state = self._state, {}
        if not state or state["trial"] != self._trial:
            return
        for name, parameter in pl_module.named_parameters():
            parameter.requires_grad_(name not in state["frozen"])
        for name, part in pl_module.named_modules():
            part.training = name not in state["evaluated"]
        for callback, memory in zip(_of(trainer, ModelCheckpoint), state.get("saved", ()), strict=False):
            set_checkpoint_memory(callback, memory)
        types = state.get("metric_types", {})
        for name, metric in _metrics(pl_module):
            metric._dtype = types.get(name, metric.dtype)  # `set_dtype` would convert the metric's state, too

    def resume_within_epoch(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do what the hooks of the epoch's start do to the Trainer: Lightning calls none of them within an epoch."""
        names = self._state.get("attributes", []) if self._state.get("trial") == self._trial else []
        self.on_train_epoch_start(trainer, pl_module)
        set_missing_attributes(trainer, pl_module, names)
        for callback in _of(trainer, GradientAccumulationScheduler):
            callback.on_train_epoch_start(trainer, pl_module)
        for callback in _of(trainer, StochasticWeightAveraging):
            with _statistics_kept(pl_module):
                callback.on_train_epoch_start(trainer, pl_module)


class LoadsDouble(L.Callback):
    """Converts the module before its weights of 64 bits are loaded. Lightning does so later, which rounds them.

    It must come after all callbacks that copy the module in ``setup``.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Convert the module for ``precision: 64-true``."""
        if isinstance(trainer.precision_plugin, DoublePrecision):
            trainer.precision_plugin.convert_module(pl_module)


def _metrics(module: nn.Module) -> Iterator[tuple[str, Metric]]:
    """Yield torchmetrics objects. Logged with ``precision: 64-true``, one takes that type with its first batch."""
    return ((name, part) for name, part in module.named_modules() if isinstance(part, Metric))


def _of(trainer: L.Trainer, cls: type) -> Iterator[Any]:
    return (callback for callback in trainer.callbacks if isinstance(callback, cls))  # type: ignore[attr-defined]


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep the statistics of batch norm: weight averaging resets them as the epoch that collects them begins."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    kept = [{name: value.clone() for name, value in part.named_buffers()} for part in norms]
    yield
    for part, values in zip(norms, kept, strict=True):
        for name, value in part.named_buffers():
            value.copy_(values[name])


def _restore_types(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Replace the tensors of a loaded optimizer's state that have another type than in the checkpoint."""
    groups = zip(optimizer.param_groups, saved.get("param_groups", ()), strict=False)
    pairs = [pair for group, old in groups for pair in zip(group["params"], old["params"], strict=False)]
    for parameter, number in pairs:
        state = optimizer.state.get(parameter, {})
        for name, value in saved["state"].get(number, {}).items():
            loaded = state.get(name)
            if isinstance(value, Tensor) and isinstance(loaded, Tensor) and loaded.dtype != value.dtype:
                state[name] = value.to(loaded.device)


def _pruned(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return for each pruned parameter its values before the mask, and the mask."""
    found = {}
    for path, part in module.named_modules():
        for mask in [name for name, _ in part.named_buffers(recurse=False) if name.endswith("_mask")]:
            name = mask.removesuffix("_mask")
            if hasattr(part, f"{name}_orig"):
                found[f"{path}.{name}"] = {
                    "values": getattr(part, f"{name}_orig").detach(),
                    "mask": getattr(part, mask),
                }
    return found


def _prune(module: nn.Module, name: str, state: dict[str, Tensor]) -> None:
    path, _, parameter = name.rpartition(".")
    part: Any = module.get_submodule(path)
    values = getattr(part, parameter)
    values.data.copy_(state["values"])
    remask: Any = prune.custom_from_mask
    remask(part, parameter, state["mask"].to(values.device))


def _share_original_layers(pruning: ModelPruning) -> None:
    """Let the layers to which pruning returns share the values of those that train.

    Lightning's first pruning does so, without intent: the values to return to are then those of the moment.
    """
    for original, layer, name in original_layers(pruning):
        values = getattr(layer, f"{name}_orig", None)
        if values is not None:
            getattr(original, name).data = values.data
