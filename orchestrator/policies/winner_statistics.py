"""What configurations come to, from a few trainings of each: intervals, and which one is the best. Pure.

The values of one configuration vary from seed to seed by a normal distribution, whose spread all configurations share;
with three to five trainings of each, one spread for all is far better known than each one's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, stdtrit

Losses = Sequence[Sequence[float]]
_SPREADS = 48  # quantiles of the unknown spread
_GRID = np.linspace(-7.0, 7.0, 281)  # standard errors around a mean
_DENSITY = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()


@dataclass(frozen=True)
class Estimate:
    """The mean of a configuration's losses, an interval for what it tends to, and whether it is the least of all.

    Without any two trainings of one configuration nothing is known of the spread: the interval is unbounded.
    """

    mean: float
    low: float
    high: float
    probability: float


def spread(losses: Losses) -> float | None:
    """The standard deviation between seeds, pooled over all configurations; None where none was trained twice."""
    freedom = _freedom(losses)
    if not freedom:
        return None
    squares = sum(float(((np.asarray(each) - np.mean(each)) ** 2).sum()) for each in losses if len(each))
    return math.sqrt(squares / freedom)


def estimates(losses: Losses, level: float = 0.9) -> list[Estimate | None]:
    """One for each configuration; None for one without a value.

    An interval holds the truth with probability ``level``, by Student's t. The least mean of several is below its truth
    more often than above it, having been chosen; the upper end of its interval makes up for that: it is the quantile
    that the least of so many equals would keep to.
    """
    known = [index for index, each in enumerate(losses) if len(each)]
    found: list[Estimate | None] = [None] * len(losses)
    if not known:
        return found
    freedom, deviation = _freedom(losses), spread(losses)
    means = np.array([np.mean(losses[index]) for index in known])
    if deviation is None:
        errors, chances = np.full(len(known), math.inf), np.full(len(known), 1 / len(known))
    else:
        errors = deviation / np.sqrt([len(losses[index]) for index in known])
        chances = _chances(means, errors, freedom)
    tail = (1 - level) / 2
    best = int(np.argmin(means))
    for place, index in enumerate(known):
        upper = max(1 - tail, level ** (1 / len(known))) if place == best else 1 - tail
        low, high = (_reach(probability, freedom) * errors[place] for probability in (1 - tail, upper))
        mean = float(means[place])
        found[index] = Estimate(mean, float(mean - low), float(mean + high), float(chances[place]))
    return found


def _freedom(losses: Losses) -> int:
    return sum(len(each) - 1 for each in losses if len(each))


def _reach(probability: float, freedom: int) -> float:
    """So many standard errors hold that much below them."""
    return float(stdtrit(freedom, probability)) if freedom else 1.0


def _chances(means: NDArray[np.float64], errors: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    """How probable it is that each is the least, for flat priors of the means and of the logarithm of the spread."""
    if not errors.any():
        least = means == means.min()
        return np.asarray(least / least.sum(), dtype=np.float64)
    quantiles = (np.arange(_SPREADS) + 0.5) / _SPREADS
    scales = np.sqrt(freedom / (2 * gammaincinv(freedom / 2, quantiles)))  # of the spread, over its estimate
    found = np.zeros(len(means))
    for scale in scales:
        wide = errors * scale
        for index, (mean, error) in enumerate(zip(means, wide, strict=True)):
            others = np.arange(len(means)) != index
            at = mean + error * _GRID[:, None]
            above = ndtr((means[others] - at) / wide[others])
            found[index] += float(_DENSITY @ above.prod(axis=1))
    return np.asarray(found / found.sum(), dtype=np.float64)
