"""Forecast where trials that ended early would have come: a regression from each rung to the next. Arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAST = 4
"""Trials that must have gone from one place to the next before anything is forecast."""
LEAST_BEHIND = 2
"""Those of them that must have been in the worse half at the first place, so that nothing is extrapolated."""
_PRIOR_SLOPE, _PRIOR_WEIGHT = 0.5, 1.0
"""Before any trial: the correlation of two places, and how many trials that counts for."""
_PRIOR_SPREAD, _PRIOR_FREEDOM = 0.5, 1.0
"""Before any trial: the spread that the earlier place leaves open, and how many trials that counts for."""


class Scale(NamedTuple):
    """A scale on which losses spread evenly: linear in the middle, logarithmic far out, as diverged losses are."""

    middle: float
    width: float

    @classmethod
    def of(cls, losses: Array) -> Scale:
        """Return the scale of these losses, by their quartiles."""
        low, middle, high = np.quantile(losses, [0.25, 0.5, 0.75])
        width = (high - low) / 1.35 or float(np.std(losses)) or 1.0
        return cls(float(middle), float(width))

    def to(self, losses: Array) -> Array:
        """Return losses on this scale."""
        scaled: Array = np.arcsinh((losses - self.middle) / self.width)
        return scaled

    def back(self, scaled: Array) -> Array:
        """Return losses from this scale."""
        losses: Array = self.middle + self.width * np.sinh(np.clip(scaled, -30.0, 30.0))
        return losses


def forecast(
    losses: Array, draws: int, random: np.random.Generator, only: NDArray[np.bool_] | None = None
) -> Array | None:
    """Return draws of the loss of each trial at the last place, shape (draws, trials); None if the data cannot say.

    Each stretch between two places is a linear regression, on all places before, of the trials that went it. A trial's
    way is drawn from stretch to stretch. Which trials went on depends on what was seen before, so the choice leaves no
    bias as far as the regressions hold. Their coefficients and spreads are drawn too, from their distribution given the
    data.

    Args:
        losses: shape (trials, places): the best loss up to each place, NaN beyond where a trial came. NaN throughout
            for a trial without one, whose draws are NaN.
        draws: how many.
        random: where the draws come from.
        only: the trials to forecast; by default all that did not come to the last place.
    """
    present = np.isfinite(losses)
    reached = present.sum(axis=1) - 1
    drawn = np.repeat(losses[None], draws, axis=0)  # (draws, trials, places)
    for place in range(losses.shape[1] - 1):
        moving = (reached <= place) & (reached >= 0) & (True if only is None else only)
        if not moving.any():
            continue
        both = present[:, place] & present[:, place + 1]
        if both.sum() < LEAST or _behind(losses[:, place], both) < LEAST_BEHIND:
            return None
        way, after = drawn[:, moving, : place + 1], losses[both, place + 1]
        weights = _weights(losses[:, place], both)
        drawn[:, moving, place + 1] = _stretch(losses[both, : place + 1], after, way, weights, random)
    ends: Array = drawn[:, :, -1]
    return ends


def _behind(losses: Array, went: NDArray[np.bool_]) -> int:
    """Return how many of the trials that went on are in the worse half at a place."""
    return int((losses[went] > np.nanmedian(losses)).sum())


def _weights(losses: Array, went: NDArray[np.bool_]) -> Array:
    """Return a weight for each trial that went on, so that they stand for all that were at the place.

    Each quarter of the trials there, by loss, weighs as much as it has trials, and all together as many as such
    unequal weights are worth.
    """
    entered = np.flatnonzero(np.isfinite(losses))
    quarter = np.empty(len(losses), dtype=np.int64)
    quarter[entered[np.argsort(losses[entered], kind="stable")]] = np.arange(len(entered)) * 4 // len(entered)
    all_of, went_of = np.bincount(quarter[entered], minlength=4), np.bincount(quarter[went], minlength=4)
    weights = (all_of / np.maximum(went_of, 1))[quarter[went]]
    return np.asarray(weights * weights.sum() / (weights @ weights), dtype=np.float64)


def _stretch(before: Array, after: Array, moving: Array, weights: Array, random: np.random.Generator) -> Array:
    """Return draws of losses at the end of a stretch, shape (draws, trials), from those at the places before it.

    Args:
        before: of the trials that went it, shape (n, places).
        after: of the same at its end, shape (n,).
        moving: draws of the others at the places before, shape (draws, trials, places).
        weights: of the trials that went it, shape (n,).
        random: where the draws come from.
    """
    scales, end = [Scale.of(column) for column in before.T], Scale.of(after)
    x = np.stack([scale.to(column) for scale, column in zip(scales, before.T, strict=True)], axis=-1)
    at = np.stack([scale.to(moving[:, :, place]) for place, scale in enumerate(scales)], axis=-1)
    y = end.to(after)
    (middle, width), (y_middle, y_width) = _standard(x, weights), _standard(y, weights)
    slopes, spreads = _posterior((x - middle) / width, (y - y_middle) / y_width, weights, len(moving), random)
    ones = np.ones((*at.shape[:2], 1))
    came = np.einsum("dtp,dp->dt", np.concatenate([(at - middle) / width, ones], axis=-1), slopes)
    came += spreads[:, None] * random.standard_normal(came.shape)
    return np.minimum(end.back(y_middle + y_width * came), moving[:, :, -1])  # a best loss never rises


def _standard(values: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of the columns; 1 for a column without spread."""
    middle = np.average(values, axis=0, weights=weights)
    widths = np.sqrt(np.average((values - middle) ** 2, axis=0, weights=weights))
    return middle, np.where(widths > 0, widths, 1.0)


def _posterior(x: Array, y: Array, trials: Array, draws: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Return draws of the slopes of y on x and the offset, shape (draws, places + 1), and of the spread, (draws,).

    Both are standard, and each row counts for so many ``trials``. Before any, the last place is what counts.
    """
    design = np.column_stack([x, np.ones(len(x))])
    prior, weights = np.zeros(design.shape[1]), np.full(design.shape[1], _PRIOR_WEIGHT)
    prior[-2], weights[-1] = _PRIOR_SLOPE, 1e-3
    weighed = design * trials[:, None]
    precision = design.T @ weighed + np.diag(weights)
    mean = np.linalg.solve(precision, weighed.T @ y + weights * prior)
    rest = float(trials @ y**2 + weights @ prior**2 - mean @ precision @ mean)
    freedom = _PRIOR_FREEDOM + max(trials.sum() - 1, 0.0)
    scale = _PRIOR_FREEDOM * _PRIOR_SPREAD**2 + max(rest, 0.0)
    spreads = np.sqrt(scale / random.chisquare(freedom, draws))
    turned = np.linalg.solve(np.linalg.cholesky(precision).T, random.standard_normal((design.shape[1], draws)))
    return mean + spreads[:, None] * turned.T, spreads


def narrowest(counts: Array, level: float) -> tuple[int, int]:
    """Return the narrowest interval that holds at least that share of some counts."""
    ordered = np.sort(counts)
    held = int(np.ceil(level * len(ordered)))
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    first = int(np.argmin(widths))
    return int(ordered[first]), int(ordered[first + held - 1])
