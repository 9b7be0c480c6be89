"""The Parzen model of searcher parzen: counts in cells of each parameter's range. Arrays only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.space import Choice, Space
from orchestrator.space.domain import Coordinate, Domain, same_value

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
CELLS = 32
"""Parts of a parameter's range, each as likely as any other under its domain."""


class Axis:
    """The cells of one parameter: of equal probability, or one for each choice."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._values = domain.size if isinstance(domain, Choice) or not getattr(domain, "logarithmic", True) else None
        self._drawn = self._values is None and (domain.size is not None or getattr(domain, "step", None) is not None)
        self.smooth = not isinstance(domain, Choice)
        self.cells = CELLS if self.smooth else domain.size or 1

    def cell(self, value: Any) -> int:
        """Return the cell of a value of the domain."""
        return min(max(int(self._domain.coordinate(value) * self.cells), 0), self.cells - 1)

    def column(self, places: Array) -> Array:
        """Return the cells of the values that the domain has at these coordinates, shape (n,)."""
        if self._drawn:
            return np.array([self.cell(self._domain.sample(Coordinate(place))) for place in places.tolist()])
        if self._values is not None:
            places = (np.floor(places * self._values) + 0.5) / self._values
        return np.minimum((places * self.cells).astype(np.int64), self.cells - 1)

    def among(self, places: Array, values: tuple[Any, ...]) -> Array:
        """Return whether the domain's value at each of these coordinates is one of ``values``, shape (n,)."""
        if isinstance(self._domain, Choice):
            return np.isin(self.column(places), [self._domain.encode(value) for value in values])
        allowed = {same_value(value) for value in values}
        return np.array([same_value(self._domain.sample(Coordinate(place))) in allowed for place in places.tolist()])


class Model:
    """How often the trials have been in each cell. All parameters' cells are one row, the smooth ones' first."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._columns = {name: column for column, name in enumerate(space.order)}
        varying = {name: Axis(space[name]) for name in space.order if space[name].size != 1}
        self.axes = dict(sorted(varying.items(), key=lambda item: not item[1].smooth))
        sizes = [axis.cells for axis in self.axes.values()]
        self._starts = dict(zip(self.axes, np.cumsum([0, *sizes])[:-1].tolist(), strict=True))
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        self._prior = np.repeat(1.0 / np.maximum(sizes, 1), sizes)
        self._smooth = sum(axis.smooth for axis in self.axes.values())
        self._all = np.zeros(sum(sizes))
        self._cells: dict[int, Array] = {}
        centres = (np.arange(CELLS) + 0.5) / CELLS
        self._squares = (centres[:, None] - centres[None]) ** 2

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Add a trial's parameters. It does not count yet."""
        cells = [self._starts[name] + axis.cell(params[name]) for name, axis in self.axes.items() if name in params]
        self._cells[number] = np.array(cells, dtype=np.int64)

    def count(self, number: int, weight: int) -> None:
        """Add ``weight`` to how often a trial counts."""
        self._all[self._cells[number]] += weight

    def scores(self, good: list[int], candidates: Array) -> Array:
        """Return the logarithm of the density among the good trials over that among the others, shape (n,)."""
        cells = np.concatenate([self._cells[number] for number in good])
        near = np.bincount(cells, minlength=len(self._all)).astype(float)
        gain = np.log(self._density(near)) - np.log(self._density(self._all - near))
        active = self._active(candidates)
        total = np.zeros(len(candidates))
        for name, axis in self.axes.items():
            gains = gain[self._starts[name] + axis.column(candidates[:, self._columns[name]])]
            total += np.where(active[name], gains, 0.0) if name in active else gains
        return total

    def _density(self, counts: Array) -> Array:
        """Return each cell's density, from how often it was seen."""
        trials = np.bincount(self._owner, weights=counts, minlength=len(self.axes))
        smoothed, block = counts.copy(), self._smooth * CELLS
        width = np.maximum(0.5 / CELLS, 0.3 * np.maximum(trials[: self._smooth], 1) ** -0.2)
        kernel = np.exp(-0.5 * self._squares / width[:, None, None] ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)  # no weight is lost beyond the edges
        smoothed[:block] = (kernel @ counts[:block].reshape(-1, CELLS, 1)).ravel()
        return (smoothed + self._prior) / (trials[self._owner] + 1)

    def _active(self, candidates: Array) -> dict[str, Array]:
        """Return for each parameter that has a condition which candidates have the parameter."""
        active: dict[str, Array] = {}
        for name in self._space.order:
            for parent, values in self._space[name].when.items():
                holds = Axis(self._space[parent]).among(candidates[:, self._columns[parent]], values)
                holds = holds & active[parent] if parent in active else holds
                active[name] = holds & active[name] if name in active else holds
        return active
