"""Optimizers and learning rate schedulers of every kind, those that a user writes included, by name."""

from __future__ import annotations

import collections
import enum
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim import lr_scheduler as lr


class Direction(enum.Enum):
    DOWN = -1.0


class OddSGD(Optimizer):
    """Momentum whose state and options are what people write: numpy's numbers, deques, tuples, enums."""

    def __init__(self, params: Iterable[Any], lr: float = 0.05) -> None:
        options = {"lr": np.float64(lr), "direction": Direction.DOWN, "momentum": np.float32(0.5), "betas": (0.1, 0.2)}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            group["recent"] = collections.deque(group.get("recent", ()), maxlen=3)
            group["recent"].append(np.int64(len(group["recent"])))
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Any, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["count"] = np.int64(state.get("count", 0)) + 1
        state["norms"] = (*state.get("norms", ())[-1:], float(parameter.grad.norm()))
        average = state.setdefault("average", torch.zeros_like(parameter))
        average.mul_(float(group["momentum"])).add_(parameter.grad)
        parameter.add_(average, alpha=float(group["lr"]) * group["direction"].value)


class OwnSchedule:
    """No scheduler of torch: it has ``step``, ``state_dict`` and ``load_state_dict`` alone."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.state: dict[str, Any] = {"steps": np.int64(0), "seen": collections.deque([0.0], maxlen=2)}

    def step(self) -> None:
        self.state["steps"] += 1
        self.state["seen"].append(float(self.optimizer.param_groups[0]["lr"]))
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * 0.9

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


OPTIMIZERS: dict[str, Callable[[Any, float], Optimizer]] = {
    "sgd": lambda p, rate: torch.optim.SGD(p, rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, rate, momentum=0.9, nesterov=True),
    "adam": lambda p, rate: torch.optim.Adam(p, rate, amsgrad=True),
    "adamw": lambda p, rate: torch.optim.AdamW(p, rate, weight_decay=0.1),
    "fused": lambda p, rate: torch.optim.AdamW(p, rate, fused=True),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, rate, momentum=0.5, centered=True),
    "adagrad": lambda p, rate: torch.optim.Adagrad(p, rate),
    "nadam": lambda p, rate: torch.optim.NAdam(p, rate),
    "rprop": lambda p, rate: torch.optim.Rprop(p, rate),
    "asgd": lambda p, rate: torch.optim.ASGD(p, rate, t0=4),
    "lbfgs": lambda p, rate: torch.optim.LBFGS(p, rate, max_iter=3),
    "odd": lambda p, rate: OddSGD(p, rate),
}

SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "step": lambda o: lr.StepLR(o, 2, 0.5),
    "multistep": lambda o: lr.MultiStepLR(o, [1, 3, 7], 0.5),
    "exponential": lambda o: lr.ExponentialLR(o, 0.9),
    "cosine": lambda o: lr.CosineAnnealingLR(o, T_max=5),
    "restarts": lambda o: lr.CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2),
    "onecycle": lambda o: lr.OneCycleLR(o, max_lr=0.1, total_steps=60, cycle_momentum=False),
    "cyclic": lambda o: lr.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False, mode="exp_range"),
    "scaled": lambda o: lr.CyclicLR(o, 0.01, 0.1, 2, cycle_momentum=False, scale_fn=lambda x: 1 / (1 + x)),
    "lambda": lambda o: lr.LambdaLR(o, lambda n: 0.5 * (1 + np.cos(np.pi * n / 10))),
    "multiplied": lambda o: lr.MultiplicativeLR(o, lambda n: 0.95),
    "polynomial": lambda o: lr.PolynomialLR(o, total_iters=8, power=2.0),
    "warmup": lambda o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.1, total_iters=2), lr.CosineAnnealingLR(o, T_max=6)], milestones=[2]
    ),
    "chained": lambda o: lr.ChainedScheduler([lr.ConstantLR(o, 0.5, 2), lr.ExponentialLR(o, 0.9)]),
    "plateau": lambda o: lr.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.3),
    "own": OwnSchedule,
}
