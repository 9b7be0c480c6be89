"""Learning curves for the simulator: a synthetic one, and one read from a table of real trainings."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

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
        configurations: the parameters of each, numbers or words; one that is inactive may be left out.
        metrics: metric → one row of values for each configuration, epoch 1 first. Rows may differ in length.

    Nearest by the sum of squared differences, each number scaled by its range in the table (its logarithm's, where
    all are above zero and the largest is a hundred times the smallest); words that differ are one range apart, and so
    are a parameter that is there and one that is not.
    """

    def __init__(
        self, configurations: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence[Sequence[float]]]
    ) -> None:
        self._metrics = metrics
        names = dict.fromkeys(name for row in configurations for name in row)
        self._axes = {name: _axis([row[name] for row in configurations if name in row]) for name in names}
        self._places = np.array([self._place(row) for row in configurations]).reshape(len(configurations), len(names))
        self._ranges = np.array([not isinstance(axis, _Words) for axis in self._axes.values()], dtype=bool)
        self._found: dict[str, int] = {}

    def __call__(self, params: Mapping[str, Any], epoch: int) -> dict[str, float]:
        """The metrics at that epoch; beyond the end of a row, those at its end."""
        row = self.nearest(params)
        return {
            metric: float(values[row][min(epoch, len(values[row])) - 1]) for metric, values in self._metrics.items()
        }

    def nearest(self, params: Mapping[str, Any]) -> int:
        """The number of the row that stands for these parameters; the first of equals."""
        key = repr(sorted(params.items()))
        if key not in self._found:
            place = np.array(self._place(params))
            there, asked = ~np.isnan(self._places), ~np.isnan(place)
            apart = self._places - place
            numbers = np.where(self._ranges, apart**2, apart != 0)
            self._found[key] = int(np.argmin(np.where(there & asked, numbers, there != asked).sum(axis=1)))
        return self._found[key]

    def _place(self, params: Mapping[str, Any]) -> list[float]:
        return [axis(params[name]) if name in params else math.nan for name, axis in self._axes.items()]


class _Words:
    """Values that are equal or not: each a number of its own, -1 for one that is not in the table."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._codes = {word: float(code) for code, word in enumerate(dict.fromkeys(map(repr, values)))}

    def __call__(self, value: Any) -> float:
        return self._codes.get(repr(value), -1.0)


def _axis(values: Sequence[Any]) -> Callable[[Any], float]:
    """A column's values onto [0, 1]; or as words, where they are no numbers."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _Words(values)
    low, high = min(values), max(values)
    log = low > 0 and high >= 100 * low
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    span = (end - start) or 1.0

    def scaled(value: Any) -> float:
        if not isinstance(value, int | float) or (log and value <= 0):
            return math.nan
        return float(((math.log(value) if log else value) - start) / span)

    return scaled
