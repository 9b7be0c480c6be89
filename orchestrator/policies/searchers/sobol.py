"""A scrambled Sobol sequence."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.policies.searcher import Searcher, Suggestion
from orchestrator.seeds import derive_seed
from orchestrator.spec import TryFirstOptions


class Sobol(TryFirstOptions):
    """A scrambled Sobol sequence: random trials that keep apart from each other. Does not use results.

    Example:
        ```python
        searcher = orchestrator.Sobol()
        ```
    """

    name: Literal["sobol"] = "sobol"


class SobolSearcher(Searcher[Sobol]):
    """A scrambled Sobol sequence (Owen 1998): random points that keep apart from each other.

    Trial n is point n. Each parameter has a coordinate of its own, which its domain takes in place of a random number;
    an inactive one leaves it unused. Optuna's QMCSampler draws from the same sequence of SciPy's, but counts its points
    in the order of asking and cannot place a choice or a condition on it.
    """

    @classmethod
    def explain(cls, options: Sobol, suggestion: Suggestion) -> str:
        """Say that it was the next point."""
        return "the next point of a Sobol sequence"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the point of that number."""
        return self.space.at(self._point(number))

    def _point(self, number: int) -> list[float]:
        if not self.space:
            return []
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.space), scramble=True, rng=derive_seed(self.seed, "sobol"))
        if number:
            sequence.fast_forward(number)
        return [float(coordinate) for coordinate in sequence.random(1)[0]]
