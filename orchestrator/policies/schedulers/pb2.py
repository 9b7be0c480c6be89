"""Population based bandits: what to change a trial's numbers to, by a Gaussian process of what made trials improve."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import Any

import numpy as np

from orchestrator.journal import Event
from orchestrator.policies.schedulers.pbt import PBT
from orchestrator.seeds import derive_seed
from orchestrator.space import Space

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
_ROWS = 100  # the latest intervals that the model is made of: its cost does not grow with the sweep
_LEAST = 4
_CANDIDATES = 200
_LENGTHS, _FORGETTING, _NOISE = (0.2, 0.5, 1.5), (0.0, 0.05), (0.01, 0.2)


class PB2(PBT):
    """Population based bandits (Parker-Holder et al. 2020, arXiv:2002.02518).

    As PBT, but numbers are chosen where a Gaussian process, over them, time and the loss at the interval's start,
    expects the most improvement, or knows least (upper confidence bound). Trials that go on meanwhile count as known,
    so that two do not choose alike. Its length scale, forgetting and noise are the likeliest of a small grid. Choices
    change as in PBT.
    """

    name = "pb2"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, resample=0.0)
        self._numbers = [name for name in self._space.order if name in self._mutate and _is_number(self._space, name)]
        self._start: dict[int, tuple[int, float]] = {}  # trial -> epoch and loss at the beginning of its interval
        self._rows: list[tuple[float, ...]] = []  # time, loss at the start, numbers; and the improvement an epoch
        self._going: dict[int, tuple[float, ...]] = {}

    def _reported(self, trial: int, epoch: int) -> None:
        before = self._reached.get(trial, 0)
        super()._reported(trial, epoch)
        if (trial, epoch) not in self._states or self._reached[trial] == before:
            return
        loss = self._states[trial, epoch][0]
        if trial in self._start:
            start, at_start = self._start[trial]
            inputs = (float(start), at_start, *self._place(self._params[trial]))
            self._rows = [*self._rows, (*inputs, (at_start - loss) / (epoch - start))][-_ROWS:]
        self._start[trial] = epoch, loss

    def _goes_on(self, event: Event) -> None:
        super()._goes_on(event)
        trial = event["trial"]
        if "donor" in event.fields:
            donor, epoch = event["donor"]
            self._start[trial] = epoch, self._states[donor, epoch][0]
        start, loss = self._start[trial]
        self._going[trial] = (float(start), loss, *self._place(self._params[trial]))

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        super()._was_set_aside(trial, epoch)
        self._going.pop(trial, None)

    def _explored(self, donor: int, trial: int, epoch: int) -> dict[str, Any]:
        params = super()._explored(donor, trial, epoch)
        if len(self._rows) < _LEAST or not self._numbers:
            return params
        rng = random.Random(derive_seed(self._seed, "pb2", trial, epoch))
        units = np.array([[rng.random() for _ in self._numbers] for _ in range(_CANDIDATES)])
        start = np.tile([float(epoch), self._states[donor, epoch][0]], (_CANDIDATES, 1))
        chosen = units[int(np.argmax(self._promise(np.hstack([start, units]))))]
        for name, unit in zip(self._numbers, chosen.tolist(), strict=True):
            if name in params:
                params[name] = _value(self._space, name, unit)
        return params

    def _promise(self, candidates: Array) -> Array:
        """The upper confidence bound of the improvement; shape (candidates,)."""
        rows = np.array(self._rows)
        known, gains = rows[:, :-1], _standard(rows[:, -1])
        losses = known[:, 1].mean(), known[:, 1].std() or 1.0
        going = np.array([inputs for _, inputs in sorted(self._going.items())][-_ROWS:]).reshape(-1, known.shape[1])
        known, going, candidates = (_scaled(inputs, *losses) for inputs in (known, going, candidates))
        kernel = max(product(_LENGTHS, _FORGETTING, _NOISE), key=lambda of: _likelihood(known, gains, *of))
        mean = _posterior(known, candidates, *kernel, gains)[0]
        deviation = _posterior(np.vstack([known, going]), candidates, *kernel)[1]
        return mean + math.sqrt(0.2 + math.log(1 + 0.4 * len(rows))) * deviation

    def _place(self, params: dict[str, Any]) -> list[float]:
        """Its numbers in the unit cube; one that it does not have in the middle."""
        return [_unit(self._space, name, params[name]) if name in params else 0.5 for name in self._numbers]


def _is_number(space: Space, name: str) -> bool:
    distribution = space[name].optuna_distribution()
    return hasattr(distribution, "low") and distribution.low < distribution.high


def _unit(space: Space, name: str, value: Any) -> float:
    of, x = space[name].optuna_distribution(), space[name].encode(value)
    if of.log:
        return (math.log(x) - math.log(of.low)) / (math.log(of.high) - math.log(of.low))
    return float((x - of.low) / (of.high - of.low))


def _value(space: Space, name: str, unit: float) -> Any:
    of = space[name].optuna_distribution()
    if of.log:
        return space[name].decode(math.exp(math.log(of.low) + unit * (math.log(of.high) - math.log(of.low))))
    return space[name].decode(of.low + unit * (of.high - of.low))


def _standard(values: Array) -> Array:
    return (values - values.mean()) / (values.std() or 1.0)


def _scaled(inputs: Array, mean: float, deviation: float) -> Array:
    """The loss in standard deviations; time and numbers as they are."""
    return np.hstack([inputs[:, :1], (inputs[:, 1:2] - mean) / deviation, inputs[:, 2:]])


def _covariance(one: Array, other: Array, length: float, forgetting: float) -> Array:
    """Squared exponential in all but time; by ``(1 - forgetting) ** (epochs / 2)`` less of what lies epochs back."""
    apart = ((one[:, None, 1:] - other[None, :, 1:]) ** 2).sum(axis=2)
    epochs = np.abs(one[:, None, 0] - other[None, :, 0])
    return np.exp(-apart / (2 * length**2)) * (1 - forgetting) ** (epochs / 2)


def _likelihood(known: Array, gains: Array, length: float, forgetting: float, noise: float) -> float:
    factor = np.linalg.cholesky(_covariance(known, known, length, forgetting) + noise * np.eye(len(known)))
    solved = np.linalg.solve(factor, gains)
    return float(-0.5 * solved @ solved - np.log(np.diag(factor)).sum())


def _posterior(
    known: Array, wanted: Array, length: float, forgetting: float, noise: float, gains: Array | None = None
) -> tuple[Array, Array]:
    """Mean (zero without gains) and standard deviation, each of shape (wanted,)."""
    factor = np.linalg.cholesky(_covariance(known, known, length, forgetting) + noise * np.eye(len(known)))
    across = np.linalg.solve(factor, _covariance(known, wanted, length, forgetting))
    mean = across.T @ np.linalg.solve(factor, gains) if gains is not None else np.zeros(len(wanted))
    return mean, np.sqrt(np.maximum(1.0 - (across**2).sum(axis=0), 0.0))
