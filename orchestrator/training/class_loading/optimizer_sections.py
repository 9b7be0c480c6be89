"""Give a module the optimizer and the scheduler that the sweep file names, as LightningCLI does."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands that only read a run load neither torch nor Lightning
    from lightning import LightningModule

_PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
_PLATEAU_OF_CLI = "lightning.pytorch.cli.ReduceLROnPlateau"


def optimizer_bases() -> tuple[type, ...]:
    """Return what the section ``optimizer`` must name."""
    import torch

    return (torch.optim.Optimizer,)


def scheduler_bases() -> tuple[type, ...]:
    """Return what the section ``lr_scheduler`` must name."""
    import torch
    from lightning.pytorch.cli import ReduceLROnPlateau

    return (torch.optim.lr_scheduler.LRScheduler, ReduceLROnPlateau)


def monitored(scheduler: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a scheduler's section; torch's ReduceLROnPlateau with ``monitor`` is LightningCLI's class."""
    if scheduler["class_path"] == _PLATEAU and "monitor" in (scheduler.get("init_args") or {}):
        return {**scheduler, "class_path": _PLATEAU_OF_CLI}
    return scheduler


def set_optimizers(module: LightningModule, model: Mapping[str, Any], build: Callable[..., Any]) -> None:
    """Replace the module's ``configure_optimizers`` if its section names an optimizer.

    Args:
        module: the module, built.
        model: its section.
        build: `orchestrator.training.class_loading.build`.
    """
    optimizer, scheduler = model.get("optimizer"), model.get("lr_scheduler")
    if not optimizer:
        return

    def configure_optimizers(self: LightningModule) -> Any:
        from lightning.pytorch.cli import LightningCLI

        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        made = build(optimizer, optimizer_bases(), trained)
        if not scheduler:
            return made
        return LightningCLI.configure_optimizers(self, made, build(monitored(scheduler), scheduler_bases(), made))

    module.configure_optimizers = types.MethodType(configure_optimizers, module)  # type: ignore[method-assign]
