"""Genetic algorithms for several objectives."""

from __future__ import annotations

from orchestrator.policies.searchers.optuna_sampler import Sampler
from orchestrator.space import Space
from orchestrator.state import Objective

_CLASSES = {"nsga2": "NSGAIISampler", "nsga3": "NSGAIIISampler"}


class NSGA(Sampler):
    """Optuna's NSGA-II (Deb et al. 2002) and NSGA-III (Deb and Jain 2014): new trials are bred of those on the front.

    The first generation is drawn at random. With several workers, trials are bred of the last generation that is
    whole, so none waits for another.
    """

    def __init__(self, space: Space, seed: int, objective: Objective, name: str, population: int) -> None:
        class_path = f"optuna.samplers.{_CLASSES[name]}"
        super().__init__(space, seed, objective, class_path, {"population_size": population})
        self.name = name
