"""NSGA-III, a genetic algorithm for several objectives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.policies.optuna_sampler import SamplerSearcher
from orchestrator.policies.searcher import Suggestion
from orchestrator.spec import SweepSpec, TryFirstOptions


class NSGA3(TryFirstOptions):
    """Optuna's NSGA-III: breeds trials of four objectives or more.

    Example:
        ```python
        searcher = orchestrator.NSGA3(population=20)
        ```
    """

    name: Literal["nsga3"] = "nsga3"
    population: int = Field(default=8, ge=2, description="Trials of a generation.", examples=[20])


class NSGA3Searcher(SamplerSearcher[NSGA3]):
    """Optuna's NSGA-III (Deb and Jain 2014): new trials are bred of those on the Pareto front.

    The first generation is drawn at random. With several workers, trials are bred of the last complete generation, so
    that none waits for another.
    """

    def __init__(self, options: NSGA3, spec: SweepSpec) -> None:
        super().__init__(options, spec, "optuna.samplers.NSGAIIISampler", {"population_size": options.population})

    @classmethod
    def explain(cls, options: NSGA3, suggestion: Suggestion) -> str:
        """Say that it was bred."""
        return "bred by NSGA-III from the generation before it, or drawn at random for the first"
