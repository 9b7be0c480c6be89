"""A Gaussian process of what made trials of a population improve, for PB2. Arrays only."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
_LENGTHS, _FORGETTING, _NOISE = (0.2, 0.5, 1.5), (0.0, 0.05), (0.01, 0.2)


def best_candidate(rows: list[tuple[float, ...]], running: list[tuple[float, ...]], candidates: Any) -> int:
    """Return the index of the candidate with the highest upper confidence bound of its improvement.

    Args:
        rows: for each interval seen, its start in time, the loss at the start, numbers in the unit cube, and the
            improvement an epoch.
        running: the same without the improvement, of the trials that train now: they count as seen.
        candidates: the same without the improvement, shape (candidates, 2 + numbers).
    """
    table = np.array(rows)
    seen, gains = table[:, :-1], _standard(table[:, -1])
    losses = seen[:, 1].mean(), seen[:, 1].std() or 1.0
    inputs = np.array(running).reshape(-1, seen.shape[1])
    seen, inputs, places = (_scaled(each, *losses) for each in (seen, inputs, np.array(candidates)))
    kernel = max(product(_LENGTHS, _FORGETTING, _NOISE), key=lambda form: _likelihood(seen, gains, *form))
    mean = _posterior(seen, places, *kernel, gains)[0]
    deviation = _posterior(np.vstack([seen, inputs]), places, *kernel)[1]
    return int(np.argmax(mean + math.sqrt(0.2 + math.log(1 + 0.4 * len(rows))) * deviation))


def _standard(values: Array) -> Array:
    return (values - values.mean()) / (values.std() or 1.0)


def _scaled(inputs: Array, mean: float, deviation: float) -> Array:
    """Return the inputs with the loss in standard deviations."""
    return np.hstack([inputs[:, :1], (inputs[:, 1:2] - mean) / deviation, inputs[:, 2:]])


def _covariance(first: Array, second: Array, length: float, forgetting: float) -> Array:
    """Return a squared exponential in all but time, times ``(1 - forgetting) ** (epochs between / 2)``."""
    squares = ((first[:, None, 1:] - second[None, :, 1:]) ** 2).sum(axis=2)
    epochs = np.abs(first[:, None, 0] - second[None, :, 0])
    return np.exp(-squares / (2 * length**2)) * (1 - forgetting) ** (epochs / 2)


def _likelihood(seen: Array, gains: Array, length: float, forgetting: float, noise: float) -> float:
    factor = np.linalg.cholesky(_covariance(seen, seen, length, forgetting) + noise * np.eye(len(seen)))
    solved = np.linalg.solve(factor, gains)
    return float(-0.5 * solved @ solved - np.log(np.diag(factor)).sum())


def _posterior(
    seen: Array, places: Array, length: float, forgetting: float, noise: float, gains: Array | None = None
) -> tuple[Array, Array]:
    """Return the mean (zero without gains) and the standard deviation, each of shape (places,)."""
    factor = np.linalg.cholesky(_covariance(seen, seen, length, forgetting) + noise * np.eye(len(seen)))
    across = np.linalg.solve(factor, _covariance(seen, places, length, forgetting))
    mean = across.T @ np.linalg.solve(factor, gains) if gains is not None else np.zeros(len(places))
    return mean, np.sqrt(np.maximum(1.0 - (across**2).sum(axis=0), 0.0))
