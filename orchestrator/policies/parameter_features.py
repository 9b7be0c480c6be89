"""Parameters as numbers for linear models: places in their ranges, and which word of a choice it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.space import Choice, Domain, Space
from orchestrator.space.domain import Coordinate, is_number

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""


class Features:
    """The features of configurations: a one, and those of each parameter that varies.

    A parameter that a configuration lacks is in the middle of its range. The values of a choice among numbers are in
    their order.
    """

    def __init__(self, space: Space) -> None:
        self._axes = [(name, _Axis(space[name])) for name in space.order if space[name].size != 1]
        self._columns = {name: column for column, name in enumerate(space.order)}

    def of(self, params: Mapping[str, Any]) -> list[float]:
        """Return the features of some parameters."""
        point = [1.0]
        for name, axis in self._axes:
            point += axis.features(params[name]) if name in params else axis.absent
        return point

    def of_points(self, candidates: Array) -> Array:
        """Return the features of points of the unit cube, shape (n, features)."""
        import numpy as np

        columns = [np.ones((len(candidates), 1))]
        columns += [axis.columns(candidates[:, self._columns[name]]) for name, axis in self._axes]
        return np.hstack(columns)


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
