"""Give a resumed trial's optimizers its new hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
from torch.optim import Optimizer


class OptimizerOverrides(L.Callback):
    """Gives restored optimizers the options that ``configure_optimizers`` gives them now.

    A checkpoint restores the optimizers' options (learning rate, weight decay, momentum …) with their moments. This
    keeps the moments and replaces the options. A learning rate scheduler keeps its position: the ratio of the learning
    rate to the initial one stays, and the initial one is replaced.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace the options, after Lightning has restored the optimizers."""
        fresh = list(_optimizers(pl_module.configure_optimizers()))
        for restored, configured in zip(trainer.optimizers, fresh, strict=True):
            for group, options in zip(restored.param_groups, configured.param_groups, strict=True):
                _override(group, options)
        for config in trainer.lr_scheduler_configs:
            _rebase(config.scheduler)


def _override(group: dict[str, Any], options: Mapping[str, Any]) -> None:
    initial = group.get("initial_lr")
    ratio = group["lr"] / initial if initial else None
    for name, value in options.items():
        if name != "params":
            group[name] = value
    if ratio is not None and "initial_lr" in options:
        group["lr"] = options["initial_lr"] * ratio


def _rebase(scheduler: Any) -> None:
    """Set a scheduler's base learning rates, and those of the schedulers in it, to the present initial ones."""
    for part in getattr(scheduler, "_schedulers", ()):
        _rebase(part)
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _optimizers(configured: Any) -> Iterator[Optimizer]:
    """Yield the optimizers in any return value of ``configure_optimizers``, in Lightning's order."""
    if isinstance(configured, Optimizer):
        yield configured
    elif isinstance(configured, Mapping):
        yield from _optimizers(configured.get("optimizer"))
    elif isinstance(configured, list | tuple):
        for item in configured:
            yield from _optimizers(item)
