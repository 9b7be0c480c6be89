"""Points that a person wants tried before anything is searched."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher
from orchestrator.seeds import derive_seed
from orchestrator.space import Space


class TryFirst(Searcher):
    """The first trials get the points that the spec lists, what those leave open as in trial n's random draw.

    From then on the other searcher suggests; it has seen these trials as any others.
    """

    def __init__(self, points: Sequence[Mapping[str, Any]], then: Searcher, space: Space, seed: int) -> None:
        self.name, self.learns = then.name, then.learns
        self._points, self._then, self._space, self._seed = points, then, space, seed

    def suggest(self, number: int) -> dict[str, Any] | None:
        if number >= len(self._points):
            return self._then.suggest(number)
        rng, point = random.Random(derive_seed(self._seed, "suggest", number)), self._points[number]
        params: dict[str, Any] = {}
        for name in self._space.order:
            if self._space.active(params, name):
                drawn = self._space[name].sample(rng)  # for a given one too: the others are then those of the draw
                params[name] = self._space[name].canonical(point[name]) if name in point else drawn
        return params

    def by(self, number: int) -> str:
        return "try_first" if number < len(self._points) else self._then.by(number)

    def observe(self, event: Event) -> None:
        self._then.observe(event)
