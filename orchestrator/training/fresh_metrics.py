"""Which of the metrics that Lightning holds belong to this moment.

``trainer.callback_metrics`` keeps the last value of every name for ever. A report holds the weights of one moment, so
a value of an earlier validation, or of the epoch before, is not to be in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor


class FreshMetrics:
    """Tells new values from old ones by the tensor that holds them: Lightning makes one for each new value."""

    def __init__(self) -> None:
        self._old: dict[str, Any] = {}
        self._before_validation: dict[str, Any] = {}
        self._validated: frozenset[str] = frozenset()

    def begin(self, trainer: L.Trainer) -> None:
        """Regard all present values as old."""
        self._old = dict(trainer.callback_metrics)
        self._validated = frozenset()

    def begin_validation(self, trainer: L.Trainer) -> None:
        """Note the values before a validation."""
        self._before_validation = dict(trainer.callback_metrics)

    def end_validation(self, trainer: L.Trainer) -> None:
        """Note which names the validation has logged."""
        before = self._before_validation
        self._validated = frozenset(
            name for name, value in trainer.callback_metrics.items() if value is not before.get(name)
        )

    @property
    def validated(self) -> frozenset[str]:
        """The names that the last validation logged, if it belongs to this moment."""
        return self._validated

    def values(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return the values that were logged since `begin`."""
        return {name: value for name, value in trainer.callback_metrics.items() if value is not self._old.get(name)}


def as_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Convert scalars to floats, with one copy to the host for all tensors of a kind.

    ``metrics`` are numbers and tensors of one element, all on one device.
    """
    kinds: dict[torch.dtype, dict[str, Tensor]] = {}
    floats = {}
    for name, value in metrics.items():
        if isinstance(value, Tensor):
            kinds.setdefault(_wide(value), {})[name] = value.detach().reshape(())
        else:
            floats[name] = float(value)
    for dtype, tensors in kinds.items():
        numbers = torch.stack([value.to(dtype) for value in tensors.values()]).tolist()
        floats |= zip(tensors, map(float, numbers), strict=True)
    return {name: floats[name] for name in metrics}


def _wide(value: Tensor) -> torch.dtype:
    """Return a type that holds the number exactly. Not every device has floats of 64 bits."""
    if not value.is_floating_point():
        return torch.int64
    return torch.float64 if value.dtype == torch.float64 else torch.float32
