"""Intervals of configurations from a few trainings of each, and the probability of being the best. Pure.

The values of one configuration vary from seed to seed by a normal distribution, whose spread all configurations share;
from three to five trainings of each, one spread for all is estimated far better than each one's own.
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
    """The mean of a configuration's losses, an interval for its expectation, and the probability of being the least.

    If no configuration was trained twice, the spread is unknown and the interval unbounded.
    """

    mean: float
    low: float
    high: float
    probability: float


def spread(losses: Losses) -> float | None:
    """Return the standard deviation between seeds, pooled over all configurations; None if none was trained twice."""
    freedom = _freedom(losses)
    if not freedom:
        return None
    squares = sum(float(((np.asarray(each) - np.mean(each)) ** 2).sum()) for each in losses if len(each))
    return math.sqrt(squares / freedom)


def estimates(losses: Losses, level: float = 0.9) -> list[Estimate | None]:
    """Return an estimate for each configuration; None for one without a value.

    An interval holds the expectation with probability ``level``, by Student's t. The least mean of several is below its
    expectation more often than above, since it was chosen; the upper end of its interval corrects that: it is the
    quantile for the least of so many equals.
    """
    valued = [index for index, each in enumerate(losses) if len(each)]
    results: list[Estimate | None] = [None] * len(losses)
    if not valued:
        return results
    freedom, deviation = _freedom(losses), spread(losses)
    means = np.array([np.mean(losses[index]) for index in valued])
    if deviation is None:
        errors, chances = np.full(len(valued), math.inf), np.full(len(valued), 1 / len(valued))
    else:
        errors = deviation / np.sqrt([len(losses[index]) for index in valued])
        chances = _chances(means, errors, freedom)
    tail = (1 - level) / 2
    best = int(np.argmin(means))
    for place, index in enumerate(valued):
        upper = max(1 - tail, level ** (1 / len(valued))) if place == best else 1 - tail
        low, high = (_reach(probability, freedom) * errors[place] for probability in (1 - tail, upper))
        mean = float(means[place])
        results[index] = Estimate(mean, float(mean - low), float(mean + high), float(chances[place]))
    return results


def _freedom(losses: Losses) -> int:
    return sum(len(each) - 1 for each in losses if len(each))


def _reach(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t, in standard errors."""
    return float(stdtrit(freedom, probability)) if freedom else 1.0


def _chances(means: NDArray[np.float64], errors: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    """Return the probability of each to be the least, for flat priors of the means and of the spread's logarithm."""
    if not errors.any():
        least = means == means.min()
        return np.asarray(least / least.sum(), dtype=np.float64)
    quantiles = (np.arange(_SPREADS) + 0.5) / _SPREADS
    scales = np.sqrt(freedom / (2 * gammaincinv(freedom / 2, quantiles)))  # of the spread, over its estimate
    chances = np.zeros(len(means))
    for scale in scales:
        wide = errors * scale
        for index, (mean, error) in enumerate(zip(means, wide, strict=True)):
            rest = np.arange(len(means)) != index
            at = mean + error * _GRID[:, None]
            above = ndtr((means[rest] - at) / wide[rest])
            chances[index] += float(_DENSITY @ above.prod(axis=1))
    return np.asarray(chances / chances.sum(), dtype=np.float64)
