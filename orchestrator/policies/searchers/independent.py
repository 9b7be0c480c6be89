"""Searchers that do not look at results: random, grid and Sobol. Trial n is the same whatever happened before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.policies.searchers.base import Searcher, random_draw
from orchestrator.seeds import derive_seed
from orchestrator.space import Space


class Random(Searcher):
    """Each trial drawn anew."""

    name = "random"

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def suggest(self, number: int) -> dict[str, Any] | None:
        return random_draw(self._space, self._seed, number)


class Grid(Searcher):
    """Every combination, once, in the order of the file (the last parameter turns fastest)."""

    name = "grid"

    def __init__(self, space: Space) -> None:
        self._points: Iterator[dict[str, Any]] = iter(space.grid())
        self._seen: list[dict[str, Any]] = []

    def suggest(self, number: int) -> dict[str, Any] | None:
        while len(self._seen) <= number:
            point = next(self._points, None)
            if point is None:
                return None
            self._seen.append(point)
        return self._seen[number]

    def has(self, number: int) -> bool:
        return self.suggest(number) is not None


class Sobol(Searcher):
    """A scrambled Sobol sequence (Owen 1998): random points that keep out of each other's way.

    Trial n is point n. Each parameter has a coordinate of its own, which its domain takes in place of a random number;
    an inactive one leaves it unused. Optuna's QMCSampler draws from the same sequence of SciPy's, but counts its points
    in the order of asking and cannot place a choice or a condition on it.
    """

    name = "sobol"

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, derive_seed(seed, "sobol")

    def suggest(self, number: int) -> dict[str, Any] | None:
        return self._space.at(self._point(number))

    def _point(self, number: int) -> list[float]:
        if not self._space:
            return []
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self._space), scramble=True, rng=self._seed)
        if number:
            sequence.fast_forward(number)
        return [float(coordinate) for coordinate in sequence.random(1)[0]]
