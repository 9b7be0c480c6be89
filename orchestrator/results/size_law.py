"""How the optimum of each parameter moves with the size of a model: fits, intervals, and when there is none. Pure.

At each size a quadratic without interactions is fitted to the better trials, by Bayesian linear regression; the
lowest points of draws of it are draws of the optimum. A line through these, against the logarithm of the size, is the
law: for a parameter on a logarithmic scale a power law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.9
"""Of the intervals."""
DRAWS = 2000
FLAT = 0.6
"""An interval of the optimum that spans more of the range than this tells nothing."""
DRIFT = 0.02
"""Below this probability of what the line leaves over, the optimum follows no line."""
REACH = 3.0
"""How far beyond the sizes a line is believed, in logarithms, as a multiple of what the sizes span."""
_BETTER = 0.7
"""The share of the trials, by loss, that is fitted: far from its lowest point a loss is no quadratic. Of few trials
more are."""
_FARTHEST = 2.0
"""How far from the middle of a range an optimum may be found, where the range itself ends at 1."""
_COARSE = 0.03
"""Half the range times this is added to the error of each optimum, for what is no quadratic."""


def fewest_trials(parameters: int, offsets: int = 0) -> int:
    """Return how many trials a size needs, for so many parameters with ranges and further columns."""
    return math.ceil((3 * parameters + offsets + 4) / _BETTER)


@dataclass(frozen=True)
class Interval:
    """A median, and an interval that holds the truth with probability ``LEVEL``."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Array) -> Interval:
        """Return the interval of some draws."""
        low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        return cls(float(middle), float(low), float(high))


@dataclass(frozen=True)
class Law:
    """How a parameter's optimum moves, on the scale of its range: -1 and 1 are its ends, in logarithms if it is so.

    Attributes:
        optima: at each size.
        slope: of the line, for each unit of the logarithm of the size.
        predicted: the optimum at the size asked for.
        refused: why the prediction is not to be used; empty if it is.
    """

    optima: tuple[Interval, ...]
    slope: Interval
    predicted: Interval
    refused: str = ""


def optima(points: Array, offsets: Array, losses: Array, random: np.random.Generator) -> Array:
    """Return draws of where the loss of one size is least, shape (draws, parameters), 0 the middle of each range.

    Args:
        points: shape (trials, parameters), from -1 to 1 in each range.
        offsets: shape (trials, columns): ones and zeros for what shifts the loss, such as a choice's values.
        losses: shape (trials,).
        random: where the draws come from.
    """
    most = max(math.ceil(_BETTER * len(losses)), 6 * (points.shape[1] + 1))
    kept = np.argsort(losses, kind="stable")[:most]
    x, y = points[kept], _evened(losses[kept])
    slopes = _posterior(np.hstack([x, x**2, offsets[kept]]), y, random)
    straight, bent = slopes[:, : x.shape[1]], slopes[:, x.shape[1] : 2 * x.shape[1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = np.where(bent > 1e-12, -straight / (2 * bent), -np.sign(straight) * _FARTHEST)
    found: Array = np.clip(lowest, -_FARTHEST, _FARTHEST)
    return found


def law(draws: Sequence[Array], sizes: Sequence[float], size: float) -> Law:
    """Return the law of one parameter, on the scale of its range (-1 to 1).

    Args:
        draws: of the optimum at each size, shape (draws,) each.
        sizes: in rising order, two or more.
        size: the one to predict for.
    """
    at, beyond = np.log(np.array(sizes)), math.log(size)
    every = np.array(draws)
    errors = every.var(axis=1) + _COARSE**2
    every = every + _COARSE * np.random.default_rng(0).standard_normal(every.shape)
    weights = 1 / errors
    middle = float(np.average(at, weights=weights))
    lean = weights * (at - middle) / float(weights @ (at - middle) ** 2)
    slopes, centres = lean @ every, np.average(every, axis=0, weights=weights)
    left = float(weights @ (every.mean(axis=1) - centres.mean() - slopes.mean() * (at - middle)) ** 2)
    freedom = len(sizes) - 2
    wider = math.sqrt(max(1.0, left / freedom)) if freedom else 1.0
    predicted = centres + slopes * (beyond - middle)
    predicted = np.median(predicted) + wider * (predicted - np.median(predicted))
    found = tuple(Interval.of(each) for each in draws)
    slope, interval = Interval.of(slopes), Interval.of(predicted)
    return Law(found, slope, interval, _refusal(found, interval, by_chance(left, freedom), sizes, size))


def by_chance(squares: float, freedom: int) -> float:
    """Return the probability that the squares of so many standard errors add up to more; 1 without any."""
    if not freedom:
        return 1.0
    half = squares / 2
    found, place = (math.erfc(math.sqrt(half)), 0.5) if freedom % 2 else (math.exp(-half), 1.0)
    while place < freedom / 2:
        found += half**place * math.exp(-half) / math.gamma(place + 1)
        place += 1
    return found


def _refusal(found: Sequence[Interval], predicted: Interval, chance: float, sizes: Sequence[float], size: float) -> str:
    """Return why a prediction is not to be used; empty if it is."""
    flat = [size for each, size in zip(found, sizes, strict=True) if each.high - each.low > 2 * FLAT]
    if flat:
        return f"the trials at size {_listed(flat)} do not tell its optimum: it matters little, or they are too few"
    edge = [size for each, size in zip(found, sizes, strict=True) if abs(each.middle) > 1]
    if edge:
        return f"its optimum at size {_listed(edge)} lies at the edge of its range, or beyond: widen the range"
    if chance < DRIFT:
        return f"it drifts: its optimum moves from size to size by no one law (by chance with probability {chance:.1g})"
    span, away = math.log(sizes[-1] / sizes[0]), max(math.log(size / sizes[-1]), math.log(sizes[0] / size))
    if away > REACH * span * (1 + 1e-9):
        return f"size {size:g} is too far from the sizes {_listed(sizes)}: add a sweep nearer to it"
    if predicted.high - predicted.low > 2:
        return f"its optimum at size {size:g} is too uncertain: the interval is wider than its range"
    return ""


def _listed(sizes: Sequence[float]) -> str:
    return ", ".join(f"{size:g}" for size in sizes)


def _evened(losses: Array) -> Array:
    """Return losses with mean 0 and deviation 1, long tails drawn in."""
    low, middle, high = np.quantile(losses, [0.25, 0.5, 0.75])
    scaled = np.arcsinh((losses - middle) / ((high - low) / 1.35 or float(np.std(losses)) or 1.0))
    width = float(np.std(scaled)) or 1.0
    evened: Array = (scaled - scaled.mean()) / width
    return evened


def _posterior(x: Array, y: Array, random: np.random.Generator) -> Array:
    """Return draws of the coefficients of y on x, shape (draws, columns), the offset left out."""
    design = np.column_stack([x, np.ones(len(x))])
    prior = np.full(design.shape[1], 0.05)
    precision = design.T @ design + np.diag(prior)
    mean = np.linalg.solve(precision, design.T @ y)
    rest = max(float(y @ y - mean @ precision @ mean), 1e-9)
    freedom = 1 + max(len(y) - design.shape[1], 1)
    spreads = np.sqrt((rest + 0.05) / random.chisquare(freedom, DRAWS))
    turned = np.linalg.solve(np.linalg.cholesky(precision).T, random.standard_normal((len(mean), DRAWS)))
    drawn: Array = (mean + spreads[:, None] * turned.T)[:, :-1]
    return drawn
