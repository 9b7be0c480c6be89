"""NSGA-II, a genetic algorithm for several objectives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.policies.optuna_sampler import SamplerSearcher
from orchestrator.policies.searcher import Suggestion
from orchestrator.spec import SweepSpec, TryFirstOptions


class NSGA2(TryFirstOptions):
    """Optuna's NSGA-II: breeds trials of several objectives.

    Example:
        ```python
        searcher = orchestrator.NSGA2(population=20)
        ```
    """

    name: Literal["nsga2"] = "nsga2"
    population: int = Field(default=8, ge=2, description="Trials of a generation.", examples=[20])


class NSGA2Searcher(SamplerSearcher[NSGA2]):
    """Optuna's NSGA-II (Deb et al. 2002): new trials are bred of those on the Pareto front.

    The first generation is drawn at random. With several workers, trials are bred of the last complete generation, so
    that none waits for another.
    """

    def __init__(self, options: NSGA2, spec: SweepSpec) -> None:
        super().__init__(options, spec, "optuna.samplers.NSGAIISampler", {"population_size": options.population})

    @classmethod
    def explain(cls, options: NSGA2, suggestion: Suggestion) -> str:
        """Say that it was bred."""
        return "bred by NSGA-II from the generation before it, or drawn at random for the first"
