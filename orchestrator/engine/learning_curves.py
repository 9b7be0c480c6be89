"""Learning curves for the simulator: a synthetic one, and a table of real trainings."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

Curve = Callable[[Mapping[str, Any], float], dict[str, float]]
"""The metrics that a trial of these parameters reports at that progress, a function of the two alone.

Progress is a real number of spans, from one report to the next: an int where that is whole, so that in epochs with a
report an epoch it is the epoch, from 1.

If a configuration runs under several seeds, all but the first have ``repeat`` (1, 2 …) among their parameters.
"""


def synthetic(metric: str, mode: Literal["min", "max"], noise: float = 0.02) -> Curve:
    """Return a smooth curve towards a level in [0, 1] that depends smoothly on numeric parameters, plus noise.

    Args:
        metric: the metric's name.
        mode: ``min`` or ``max``.
        noise: half the width of uniform noise, drawn from parameters and progress alone.
    """

    def curve(params: Mapping[str, Any], progress: float) -> dict[str, float]:
        level, key = _level(params), repr(sorted(params.items()))
        loss = level + (1.0 - level) * math.exp(-progress * (0.2 + level))
        loss += noise * (2.0 * _unit(f"{progress}{key}") - 1.0)
        return {metric: 1.0 - loss if mode == "max" else loss}

    return curve


def typical(metric: str, mode: Literal["min", "max"], late: float) -> Curve:
    """Return a curve whose early values predict its end more or less, as real trainings' do, plus noise.

    A loss begins near a level of its own and comes to another, by which configurations differ as they do in
    `synthetic`; halfway it is after ``late`` spans of progress.

    Args:
        metric: the metric's name.
        mode: ``min`` or ``max``.
        late: spans of progress; the more, the less do early values predict.
    """

    def curve(params: Mapping[str, Any], progress: float) -> dict[str, float]:
        key = repr(sorted(params.items()))
        early = _level({f"{name} at first": value for name, value in params.items()})
        level = _SMOOTH * _level(params) + (1.0 - _SMOOTH) * _unit(key)
        seen = progress / (progress + late)
        loss = seen * level + (1.0 - seen) * early + 1.0 / progress
        loss += _NOISE * (2.0 * _unit(f"{progress}{key}") - 1.0)
        return {metric: 1.0 - loss if mode == "max" else loss}

    return curve


def _level(params: Mapping[str, Any]) -> float:
    """Return the level that training converges to: the mean of one smooth wave per parameter."""
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
    """Hash a text to a number in [0, 1)."""
    return zlib.crc32(text.encode()) / 2**32


_NOISE = 0.02  # half the width of uniform noise, drawn from parameters and progress alone
_SMOOTH = 0.4
"""The part of a typical level that neighbouring configurations share, so that a searcher can learn it."""


class Table:
    """Configurations that were trained, and which of them is the nearest to any other.

    Distance is the sum of squared differences. A number is scaled by its range in the table, or its logarithm's if all
    are positive and the largest is at least a hundred times the smallest. Different words are one range apart, as are a
    present and an absent parameter.

    Args:
        configurations: the parameters of each, numbers or words; an inactive one may be absent.
    """

    def __init__(self, configurations: Sequence[Mapping[str, Any]]) -> None:
        names = dict.fromkeys(name for row in configurations for name in row)
        self._axes = {name: _axis([row[name] for row in configurations if name in row]) for name in names}
        self._places = np.array([self._place(row) for row in configurations]).reshape(len(configurations), len(names))
        self._ranges = np.array([not isinstance(axis, _Words) for axis in self._axes.values()], dtype=bool)
        self._nearest: dict[str, int] = {}

    def nearest(self, params: Mapping[str, Any]) -> int:
        """Return the number of the row nearest to these parameters; the first of equals."""
        key = repr(sorted(params.items()))
        if key not in self._nearest:
            place = np.array(self._place(params))
            in_row, in_params = ~np.isnan(self._places), ~np.isnan(place)
            difference = self._places - place
            distance = np.where(self._ranges, difference**2, difference != 0)
            self._nearest[key] = int(np.argmin(np.where(in_row & in_params, distance, in_row != in_params).sum(axis=1)))
        return self._nearest[key]

    def _place(self, params: Mapping[str, Any]) -> list[float]:
        return [axis(params[name]) if name in params else math.nan for name, axis in self._axes.items()]


class _Words:
    """Map words to numbers of their own, and a word that is not in the table to -1."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._codes = {word: float(code) for code, word in enumerate(dict.fromkeys(map(repr, values)))}

    def __call__(self, value: Any) -> float:
        return self._codes.get(repr(value), -1.0)


def _axis(values: Sequence[Any]) -> Callable[[Any], float]:
    """Return a map of a column's numbers onto [0, 1], or of its words onto numbers."""
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
