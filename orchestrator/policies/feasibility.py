"""Which parameters fit in the memory: learned from the trials that ran out of it. Pure.

A logistic regression on the parameters' places in their ranges, in the manner of feasibility models for unknown
constraints (Gelbart et al. 2014): the memory of a training grows with width, depth and batch, so that about a plane in
logarithms separates what fits from what does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.policies.parameter_features import Features
from orchestrator.space import Space

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
MOST = 300
"""Trials of either outcome that the model is made of: the newest."""
RISK = 0.1
"""The probability of a failure up to which a candidate is taken."""
LEAST_SHARE = 0.25
"""The share of the candidates, those of least risk, that is taken in any case: some failures follow no plane."""
_PRIOR = 0.01
"""The precision of the coefficients before any trial; a range is from -1 to 1."""
_STEPS, _LONGEST = 20, 4.0
"""Of Newton's method: how many, and the most by which one changes a coefficient, so that none overshoots."""


class Feasibility:
    """The trials that did not fit and those that did, and the probability that a candidate will not.

    A trial whose outcome is not known, or that failed for another reason, does not count.
    """

    def __init__(self, space: Space) -> None:
        self._features = Features(space)
        self._points: dict[int, list[float]] = {}
        self._unfit: dict[int, bool] = {}
        self._model: Array | None = None

    @property
    def learned(self) -> bool:
        """Whether any trial did not fit, so that there is something to avoid."""
        return any(self._unfit.values())

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Add a trial's parameters."""
        self._points[number] = self._features.of(params)

    def note(self, number: int, unfit: bool | None) -> None:
        """Take note of whether a trial did not fit; None if that is not known (any more)."""
        if self._unfit.get(number) is unfit:
            return
        self._unfit.pop(number, None)
        if unfit is not None:
            self._unfit[number] = unfit
        self._model = None

    def taken(self, candidates: Array) -> Array:
        """Return which candidates are not too risky, shape (n,) bool, of points of the unit cube."""
        import numpy as np

        risks = self.risks(candidates)
        return risks <= max(RISK, float(np.quantile(risks, LEAST_SHARE)))

    def risks(self, candidates: Array) -> Array:
        """Return the probability of each candidate not to fit, shape (n,)."""
        import numpy as np

        if self._model is None:
            self._model = self._fitted()
        return 1 / (1 + np.exp(-np.clip(self._features.of_points(candidates) @ self._model, -30, 30)))

    def _fitted(self) -> Array:
        """Return the most probable coefficients, by Newton's method.

        Not the mean over all that are probable: that is near one half where no trial has been, and the best trials are
        often close to where they fail.
        """
        import numpy as np

        unfit, fit = ([n for n, each in self._unfit.items() if each is which][-MOST:] for which in (True, False))
        x = np.array([self._points[number] for number in (*unfit, *fit)])
        y = np.array([1.0] * len(unfit) + [0.0] * len(fit))
        prior = np.full(x.shape[1], _PRIOR)
        mean = np.zeros(x.shape[1])
        for _ in range(_STEPS):
            chance = 1 / (1 + np.exp(-np.clip(x @ mean, -30, 30)))
            weights = np.maximum(chance * (1 - chance), 1e-6)
            precision = (x.T * weights) @ x + np.diag(prior)
            step = np.linalg.solve(precision, x.T @ (y - chance) - prior * mean)
            mean = mean + step / max(1.0, float(np.abs(step).max()) / _LONGEST)
        return mean
