"""Build optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import lightning as L
from torch import nn, optim

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["cosine", "step", "exponential", "onecycle"]


def optimizer(
    module: L.LightningModule,
    name: OptimizerName,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
) -> optim.Optimizer:
    """Return the named optimizer over all of ``module``'s parameters.

    Uses a fused update if the device has one: the same arithmetic in fewer passes over memory.

    Args:
        module: the module, attached to its trainer if it has one.
        name: ``adam``, ``adamw`` or ``sgd``.
        learning_rate: initial learning rate.
        weight_decay: L2 penalty (decoupled for ``adamw``).
        momentum: used by ``sgd`` alone.

    Raises:
        ValueError: the name is unknown.
    """
    common: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay, "fused": _may_fuse(module)}
    parameters: Iterable[nn.Parameter] = module.parameters()
    if name == "adam":
        return optim.Adam(parameters, **common)
    if name == "adamw":
        return optim.AdamW(parameters, **common)
    if name == "sgd":
        return optim.SGD(parameters, momentum=momentum, **common)
    raise ValueError(f"optimizer must be one of adam, adamw, sgd, but got {name!r}")


def _may_fuse(module: L.LightningModule) -> bool:
    if module.device.type not in ("cpu", "cuda"):
        return False
    try:
        trainer = module.trainer
    except RuntimeError:  # Lightning's, for a module that has no trainer
        return True
    # A fused optimizer unscales 16-bit gradients itself, and Lightning then refuses to clip them, bfloat16's as well.
    precision = getattr(trainer, "precision", None)  # a Fabric's stand-in for the trainer has none
    return precision != "16-mixed" and not (precision == "bf16-mixed" and trainer.gradient_clip_val)


def schedule(
    module: L.LightningModule,
    optimizer: optim.Optimizer,
    name: ScheduleName,
    *,
    step_size: int = 1,
    gamma: float = 0.1,
) -> dict[str, Any]:
    """Return the ``lr_scheduler`` entry of ``configure_optimizers`` for the named schedule.

    ``cosine`` decreases to zero over the trainer's ``max_epochs``; ``step`` multiplies by ``gamma`` every ``step_size``
    epochs; ``exponential`` multiplies by ``gamma`` every epoch; ``onecycle`` increases to the learning rate and then
    decreases, over all optimizer steps (https://arxiv.org/abs/1708.07120). The first three change the rate once an
    epoch, the last once a step.

    Raises:
        ValueError: the name is unknown, or ``cosine`` or ``onecycle`` is used without the trainer's ``max_epochs``.
    """
    if name == "step":
        return {"scheduler": optim.lr_scheduler.StepLR(optimizer, step_size, gamma), "interval": "epoch"}
    if name == "exponential":
        return {"scheduler": optim.lr_scheduler.ExponentialLR(optimizer, gamma), "interval": "epoch"}
    if name == "cosine":
        epochs = _epochs(module, name)
        return {"scheduler": optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs), "interval": "epoch"}
    if name == "onecycle":
        _epochs(module, name)
        peak = [group["lr"] for group in optimizer.param_groups]
        steps = int(module.trainer.estimated_stepping_batches)
        return {"scheduler": optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps), "interval": "step"}
    raise ValueError(f"a schedule must be one of cosine, step, exponential, onecycle, but got {name!r}")


def _epochs(module: L.LightningModule, name: str) -> int:
    epochs = module.trainer.max_epochs
    if epochs is None or epochs < 1:
        raise ValueError(f"the {name} schedule needs trainer.max_epochs >= 1, but got {epochs}")
    return epochs
