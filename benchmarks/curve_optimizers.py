"""Optimizers and schedules for networks that are trained together, each with its own: see `benchmarks.curve_tasks`."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """SGD with momentum, AdamW and RMSprop as PyTorch has them, for rows of a matrix of weights (networks, weights).

    Args:
        members: a configuration for each row; those of one optimizer follow each other.
        weights: changed in place by `step`.
    """

    def __init__(self, members: Sequence[Mapping[str, Any]], weights: Tensor) -> None:
        self.members, self.weights, self.steps = members, weights.detach(), 0
        self.momentum = 1 - _column(members, "one_minus_momentum")
        self.decay = _column(members, "weight_decay")
        self.largest = _column(members, "clip") if "clip" in members[0] else None
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        kinds = [params["optimizer"] for params in members]
        ends = [0, *itertools.accumulate(len(list(same)) for _, same in itertools.groupby(kinds))]
        self.parts = [(kinds[start], slice(start, end)) for start, end in itertools.pairwise(ends)]

    def step(self, gradient: Tensor, done: float) -> None:
        """Update the weights; ``done`` is the share of the training before this step."""
        self.steps += 1
        if self.largest is not None:
            gradient = gradient * (self.largest / gradient.norm(dim=1, keepdim=True)).clamp(max=1.0)
        rates = [params["learning_rate"] * SCHEDULES[params["schedule"]](done) for params in self.members]
        rate = torch.tensor(rates)[:, None]
        for kind, part in self.parts:
            getattr(self, f"_{kind}")(part, self.weights[part], gradient[part], rate[part])

    def _sgd(self, part: slice, weights: Tensor, gradient: Tensor, rate: Tensor) -> None:
        first = self.first[part].mul_(self.momentum[part]).add_(gradient).addcmul_(self.decay[part], weights)
        weights.addcmul_(first, rate, value=-1)

    def _adamw(self, part: slice, weights: Tensor, gradient: Tensor, rate: Tensor) -> None:
        momentum = self.momentum[part]
        first = self.first[part].mul_(momentum).addcmul_(gradient, 1 - momentum)
        second = self.second[part].mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        size = (second / (1 - 0.99**self.steps)).sqrt_().add_(1e-8)
        weights.mul_(1 - rate * self.decay[part]).addcmul_(first / size, rate / (1 - momentum**self.steps), value=-1)

    def _rmsprop(self, part: slice, weights: Tensor, gradient: Tensor, rate: Tensor) -> None:
        gradient = torch.addcmul(gradient, self.decay[part], weights)
        second = self.second[part].mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        first = self.first[part].mul_(self.momentum[part]).addcdiv_(gradient, second.sqrt().add_(1e-8))
        weights.addcmul_(first, rate, value=-1)


def _column(members: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    return torch.tensor([[params[name]] for params in members])


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _warm(share: float, done: float) -> float:
    """Return the rate of a linear warm-up for a share of the training, and a cosine after it."""
    return (done + 0.002) / (share + 0.002) if done < share else _cosine((done - share) / (1 - share))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": _cosine,
    "step": lambda done: 1.0 if done < 0.5 else 0.1 if done < 0.8 else 0.01,
    "warmup_cosine": functools.partial(_warm, 0.1),
    "slow_warmup": functools.partial(_warm, 0.6),
}
"""The learning rate as a share of the highest, by the share of the training that is done."""
