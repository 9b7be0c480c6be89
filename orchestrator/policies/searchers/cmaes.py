"""Covariance matrix adaptation, for many trials of a few numeric parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.policies.searchers.history import Past
from orchestrator.policies.searchers.sampled import Sampled
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.state import Objective


class CMAES(Sampled):
    """Optuna's CmaEsSampler (Hansen 2016, arXiv:1604.00772), from the middle of the space.

    Its state (mean, covariance, step size) is a note on the trial that began a generation. Choices are drawn at random:
    it has no order for them. An inactive parameter is drawn all the same and told as drawn, so that the distribution
    does not shrink where nothing was tried. Only the values of one generation are compared with each other.
    """

    name = "cmaes"
    notes = True

    def __init__(self, space: Space, seed: int, objective: Objective, population: int | None) -> None:
        super().__init__(space, seed, objective)
        self._population = population

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import CmaEsSampler

        seed = derive_seed(self._seed, "cmaes", number)
        return CmaEsSampler(seed=seed, n_startup_trials=0, popsize=self._population, warn_independent_sampling=False)

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        return {
            name: distribution
            for name, distribution in sorted(self._history.distributions.items())
            if not distribution.single() and not hasattr(distribution, "choices")
        }

    def _full(self, trial: Past) -> dict[str, Any]:
        return self._points.get(trial.number, {}) | trial.point
