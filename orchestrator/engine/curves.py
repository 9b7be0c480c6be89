"""Learning curves for the simulator: a synthetic one, and one read from a table of real trainings."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

Curve = Callable[[Mapping[str, Any], int], dict[str, float]]
"""The metrics that a trial of these parameters reports at that epoch (from 1): a function of the two alone.

Where a configuration is tried under several seeds, ``repeat`` (1, 2 …) is among the parameters of all but the first.
"""


def synthetic(metric: str, mode: Literal["min", "max"], noise: float = 0.02) -> Curve:
    """A smooth curve towards a level in [0, 1] that depends smoothly on numeric parameters, plus noise.

    The noise is uniform in ±``noise`` and drawn from parameters and epoch alone.
    """

    def curve(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        level, key = _level(params), repr(sorted(params.items()))
        loss = level + (1.0 - level) * math.exp(-epoch * (0.2 + level))
        loss += noise * (2.0 * _unit(f"{epoch}{key}") - 1.0)
        return {metric: 1.0 - loss if mode == "max" else loss}

    return curve


def _level(params: Mapping[str, Any]) -> float:
    """Where training ends up: a mean of one smooth wave a parameter."""
    waves = []
    for name, value in params.items():
        if name == "repeat":
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            phase = 6.0 * _unit(name)
            waves.append(0.5 + 0.5 * math.sin(phase + math.copysign(math.log1p(1e3 * abs(value)), value)))
        else:
            waves.append(_unit(f"{name}={value}"))
    return sum(waves) / len(waves) if waves else 0.5


def _unit(text: str) -> float:
    """A number in [0, 1) that is a text's own."""
    return zlib.crc32(text.encode()) / 2**32


class Table:
    """Curves of configurations that were really trained; any other has the curve of the nearest of them.

    Args:
        configurations: the parameters of each, numbers or words, all with the same names.
        metrics: metric → one row of values for each configuration, epoch 1 first.

    Nearest by the sum of squared differences, each number scaled by its range in the table (its logarithm's, where
    all are above zero and the largest is a hundred times the smallest); words that differ are one range apart.
    """

    def __init__(
        self, configurations: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence[Sequence[float]]]
    ) -> None:
        self._metrics = metrics
        self._scales = {name: _scale([row[name] for row in configurations]) for name in configurations[0]}
        self._rows = [self._place(row) for row in configurations]
        self._found: dict[str, int] = {}

    def __call__(self, params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        row = self.nearest(params)
        return {metric: float(values[row][epoch - 1]) for metric, values in self._metrics.items()}

    def nearest(self, params: Mapping[str, Any]) -> int:
        """The number of the row that stands for these parameters; the first of equals."""
        key = repr(sorted(params.items()))
        if key not in self._found:
            place = self._place(params)
            self._found[key] = min(range(len(self._rows)), key=lambda row: _distance(place, self._rows[row]))
        return self._found[key]

    def _place(self, params: Mapping[str, Any]) -> list[Any]:
        return [scale(params.get(name)) for name, scale in self._scales.items()]


def _scale(values: Sequence[Any]) -> Callable[[Any], Any]:
    """A column's values onto [0, 1], or as they are where they are no numbers."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return lambda value: value
    low, high = min(values), max(values)
    log = low > 0 and high >= 100 * low
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    span = (end - start) or 1.0

    def scaled(value: Any) -> Any:
        if not isinstance(value, int | float) or (log and value <= 0):
            return None
        return ((math.log(value) if log else value) - start) / span

    return scaled


def _distance(one: Sequence[Any], other: Sequence[Any]) -> float:
    total = 0.0
    for a, b in zip(one, other, strict=True):
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        total += (a - b) ** 2 if numbers else float(a != b)
    return total
