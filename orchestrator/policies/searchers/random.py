"""Random search."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.policies.searcher import Searcher, Suggestion, random_draw
from orchestrator.spec import TryFirstOptions


class Random(TryFirstOptions):
    """Draws every trial independently of all others.

    Example:
        ```python
        searcher = orchestrator.Random(try_first=[{"model.learning_rate": 0.01}])
        ```
    """

    name: Literal["random"] = "random"


class RandomSearcher(Searcher[Random]):
    """Draw each trial on its own."""

    exact = True

    @classmethod
    def explain(cls, options: Random, suggestion: Suggestion) -> str:
        """Say that it was drawn at random."""
        return "drawn at random"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the random draw of that number."""
        return random_draw(self.space, self.seed, number)
