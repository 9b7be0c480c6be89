"""Other hyperparameters than a checkpoint's, brought into the optimizers that were restored from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
from torch.optim import Optimizer


class NewParams(L.Callback):
    """After a restore, gives each parameter group the options that ``configure_optimizers`` would give it now.

    Restoring a checkpoint brings back the optimizers' options (learning rate, weight decay, momentum …) with their
    moments. Here the moments stay and the options become those of a fresh optimizer. Where a learning rate scheduler is
    at work, it goes on from its place: the learning rate keeps its ratio to the initial one, and that is new.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        fresh = list(_optimizers(pl_module.configure_optimizers()))
        for restored, wanted in zip(trainer.optimizers, fresh, strict=True):
            for group, options in zip(restored.param_groups, wanted.param_groups, strict=True):
                _renew(group, options)
        for config in trainer.lr_scheduler_configs:
            _rebase(config.scheduler)


def _renew(group: dict[str, Any], options: Mapping[str, Any]) -> None:
    before = group.get("initial_lr")
    ratio = group["lr"] / before if before else None
    for name, value in options.items():
        if name != "params":
            group[name] = value
    if ratio is not None and "initial_lr" in options:
        group["lr"] = options["initial_lr"] * ratio


def _rebase(scheduler: Any) -> None:
    """Let a scheduler, and those that it is made of, count from the initial learning rates as they are now."""
    for part in getattr(scheduler, "_schedulers", ()):
        _rebase(part)
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _optimizers(configured: Any) -> Iterator[Optimizer]:
    """Those in whatever form ``configure_optimizers`` returns, in Lightning's order."""
    if isinstance(configured, Optimizer):
        yield configured
    elif isinstance(configured, Mapping):
        yield from _optimizers(configured.get("optimizer"))
    elif isinstance(configured, list | tuple):
        for item in configured:
            yield from _optimizers(item)
