"""Grid search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from orchestrator.errors import Problem, SpecError
from orchestrator.journal import Event
from orchestrator.policies.searcher import Searcher, Suggestion
from orchestrator.space.domain import same_value
from orchestrator.spec import SearcherOptions, SweepSpec


class Grid(SearcherOptions):
    """Tries every combination once, in a fixed order. Continuous domains need a step.

    Example:
        ```python
        searcher = orchestrator.Grid()
        ```
    """

    name: Literal["grid"] = "grid"


class GridSearcher(Searcher[Grid]):
    """Return every combination, once, in the order of the file (the last parameter turns fastest)."""

    exact = True
    ends_by_itself = True

    def __init__(self, options: Grid, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._points: Iterator[dict[str, Any]] = iter(spec.space.grid())
        self._taken: list[dict[str, Any]] = []
        self._trained: set[str] = set()

    @classmethod
    def problems(cls, options: Grid, spec: SweepSpec) -> Iterator[Problem]:
        """Yield the domains that have no grid."""
        try:
            _ = spec.space.grid_size
        except SpecError as error:
            for problem in error.problems:
                yield replace(problem, path=("space", *problem.path))

    @classmethod
    def most_trials(cls, options: Grid, spec: SweepSpec) -> int | None:
        """Return the size of the grid."""
        return spec.space.grid_size

    @classmethod
    def explain(cls, options: Grid, suggestion: Suggestion) -> str:
        """Say that it was the next point."""
        return "the next point of the grid"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the point of that number; None beyond the last."""
        while len(self._taken) <= number:
            point = next(self._points, None)
            if point is None:
                return None
            if not self._trained or same_value(point) not in self._trained:
                self._taken.append(point)
        return self._taken[number]

    def observe(self, event: Event) -> None:
        """Leave out the points that earlier sweeps have trained to their end."""
        if event.type == "sweep.warmed":
            self._trained = {same_value(trial["params"]) for trial in event["trials"]}

    def has(self, number: int) -> bool:
        """Return whether the grid has a point of that number."""
        return self.suggest(number) is not None
