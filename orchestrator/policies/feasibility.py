"""Which parameters can be trained with at all: learned from the trials that their parameters ended. Pure.

A logistic regression on the parameters' places in their ranges, in the manner of feasibility models for unknown
constraints (Gelbart et al. 2014): the memory of a training grows with width, depth and batch, and divergence with the
learning rate, so that a plane in logarithms separates what fits from what does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.space import Choice, Domain, Space
from orchestrator.space.domain import Coordinate, is_number

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
MOST = 300
"""Trials of either outcome that the model is made of: the newest."""
RISK = 0.1
"""The probability of being unfit up to which a candidate is taken."""
LEAST_SHARE = 0.25
"""The share of the candidates, those of least risk, that is taken in any case: some failures follow no plane."""
_PRIOR = 0.01
"""The precision of the coefficients before any trial; a range is from -1 to 1."""
_STEPS, _LONGEST = 20, 4.0
"""Of Newton's method: how many, and the most by which one changes a coefficient, so that none overshoots."""


class Feasibility:
    """The trials that were unfit and those that were not, and the probability that a candidate will be.

    Each kind of failure has a model of its own: memory and divergence grow with other parameters. A trial whose outcome
    is not known, or that failed for another reason than its parameters, does not count.
    """

    def __init__(self, space: Space) -> None:
        self._axes = [(name, _Axis(space[name])) for name in space.order if space[name].size != 1]
        self._columns = {name: column for column, name in enumerate(space.order)}
        self._points: dict[int, list[float]] = {}
        self._kind: dict[int, str] = {}
        self._models: dict[str, Array] | None = None

    @property
    def learned(self) -> bool:
        """Whether any trial was unfit, so that there is something to avoid."""
        return any(self._kind.values())

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Add a trial's parameters; those that it lacks are in the middle of their ranges."""
        point = [1.0]
        for name, axis in self._axes:
            point += axis.features(params[name]) if name in params else axis.absent
        self._points[number] = point

    def note(self, number: int, kind: str | None) -> None:
        """Take note of how a trial was unfit; empty if it was not, None if that is not known (any more)."""
        if self._kind.get(number) == kind:
            return
        self._kind.pop(number, None)
        if kind is not None:
            self._kind[number] = kind
        self._models = None

    def taken(self, candidates: Array) -> Array:
        """Return which candidates are not too risky, shape (n,) bool, of points of the unit cube."""
        import numpy as np

        risks = self.risks(candidates)
        return risks <= max(RISK, float(np.quantile(risks, LEAST_SHARE)))

    def risks(self, candidates: Array) -> Array:
        """Return the probability of each candidate to be unfit, shape (n,)."""
        import numpy as np

        if self._models is None:
            kinds = sorted(set(self._kind.values()) - {""})
            self._models = {kind: self._fitted(kind) for kind in kinds}
        columns = [np.ones((len(candidates), 1))]
        columns += [axis.columns(candidates[:, self._columns[name]]) for name, axis in self._axes]
        x, safe = np.hstack(columns), np.ones(len(candidates))
        for coefficients in self._models.values():
            safe *= 1 / (1 + np.exp(np.clip(x @ coefficients, -30, 30)))
        return 1 - safe

    def _fitted(self, kind: str) -> Array:
        """Return the most probable coefficients, by Newton's method.

        Not the mean over all that are probable: that is near one half where no trial has been, and the best trials are
        often close to where they fail.
        """
        import numpy as np

        unfit, fit = ([n for n, each in self._kind.items() if each == which][-MOST:] for which in (kind, ""))
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


class _Axis:
    """The features of one parameter: its place from -1 to 1; of words, which one it is."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._words = isinstance(domain, Choice) and not all(map(is_number, domain.grid()))
        self._size = domain.size if isinstance(domain, Choice) else None
        self._order: dict[int, int] = {}
        if self._size and not self._words:
            values = domain.grid()
            ranked = sorted(range(self._size), key=values.__getitem__)
            self._order = {index: place for place, index in enumerate(ranked)}
        self._drawn = self._size is None and (domain.size is not None or getattr(domain, "step", None) is not None)
        self.absent = [0.0] * (self._size or 1) if self._words else [0.0]

    def features(self, value: Any) -> list[float]:
        """Return the features of a value."""
        return self._of_index(int(self._domain.encode(value))) if self._size else [self._place(value)]

    def columns(self, places: Array) -> Array:
        """Return the features of the values at some coordinates, shape (n, features)."""
        import numpy as np

        if self._size:
            size = self._size
            return np.array([self._of_index(min(int(place * size), size - 1)) for place in places.tolist()])
        if self._drawn:
            sample = self._domain.sample
            return np.array([[self._place(sample(Coordinate(place)))] for place in places.tolist()])
        return 2 * places[:, None] - 1

    def _place(self, value: Any) -> float:
        return 2 * float(self._domain.coordinate(value)) - 1

    def _of_index(self, index: int) -> list[float]:
        if self._words:
            return [float(index == each) for each in range(self._size or 1)]
        return [2 * self._order[index] / max((self._size or 1) - 1, 1) - 1]
