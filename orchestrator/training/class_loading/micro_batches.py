"""Split the batch of a trial that ran out of memory, keeping the effective batch size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from orchestrator.training.class_loading.argument_types import signature
from orchestrator.training.class_loading.import_paths import import_class

_NAME = "batch_size"
_IN_BATCHES = ("limit_train_batches", "limit_val_batches", "val_check_interval", "overfit_batches")
_SCHEDULED = "GradientAccumulationScheduler"


def smaller_batches(
    model: dict[str, Any], data: dict[str, Any] | None, trainer: dict[str, Any], halvings: int
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
    """Return the configuration with ``batch_size / 2**halvings`` and ``accumulate_grad_batches * 2**halvings``.

    ``batch_size`` is the argument of that name in the data's ``init_args``, or in the model's, else the default of the
    data's class or of the model's. Trainer arguments that count batches (``limit_train_batches: 40``) grow with the
    number of batches; fractions and counts of steps stay. The arguments are not changed.

    If the loss is a mean over samples, the optimizer's steps are the same except for rounding, with three exceptions:
    BatchNorm and similar statistics are those of the smaller batch; random draws (dropout, augmentation) have another
    order; and Lightning divides by the full number of accumulated batches even if an epoch ends before they are
    complete, so an epoch's last, incomplete step is shorter.

    Returns:
        The model, data and trainer; None if there is no batch size, if it does not divide evenly, if accumulation
        follows a schedule, or if the trainer does a ``fast_dev_run``.

    Raises:
        UsageError: a class cannot be imported.
    """
    model, data = deepcopy(model), deepcopy(data)
    holder, size = _batch_size([part for part in (data, model) if part])
    if halvings < 0 or size < 2**halvings or size % 2**halvings or not _accumulates_by_number(trainer):
        return None
    holder["init_args"] = {**(holder.get("init_args") or {}), _NAME: size >> halvings}
    return model, data, _with_more_batches(trainer, 2**halvings)


def _batch_size(parts: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """Return the part that has the batch size, and its value: 0 if it is not an integer, or if no part has one."""
    explicit = ((part, part["init_args"][_NAME]) for part in parts if _NAME in (part.get("init_args") or {}))
    defaults = ((part, default) for part in parts if (default := _default(part["class_path"])) is not None)
    part, size = next(explicit, None) or next(defaults, ({}, 0))
    return part, size if type(size) is int else 0


def _default(class_path: str) -> Any:
    """Return the default of the class's ``batch_size``, or of a parent that gets its ``**kwargs``; None without one."""
    cls = import_class(class_path)
    if _NAME not in signature(cls).arguments:
        return None
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        parameter = inspect.signature(constructor).parameters.get(_NAME) if constructor else None
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


def _accumulates_by_number(trainer: Mapping[str, Any]) -> bool:
    steps = trainer.get("accumulate_grad_batches")
    callbacks = trainer.get("callbacks") or []
    specs = callbacks if isinstance(callbacks, list) else [callbacks]
    scheduled = any(isinstance(spec, dict) and str(spec.get("class_path")).endswith(_SCHEDULED) for spec in specs)
    return (steps is None or type(steps) is int) and not scheduled and not trainer.get("fast_dev_run")


def _with_more_batches(trainer: Mapping[str, Any], factor: int) -> dict[str, Any]:
    counted = {name: trainer[name] * factor for name in _IN_BATCHES if type(trainer.get(name)) is int}
    steps = (trainer.get("accumulate_grad_batches") or 1) * factor
    return {**deepcopy(dict(trainer)), **counted, "accumulate_grad_batches": steps}
