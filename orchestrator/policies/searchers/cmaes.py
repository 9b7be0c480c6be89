"""Covariance matrix adaptation, for many trials of a few numeric parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.history import Past
from orchestrator.policies.searchers.optuna_base import Sampled
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.state import Objective

_SOURCES = 10  # the best tenth of them is where it begins


class CMAES(Sampled):
    """Optuna's CmaEsSampler (Hansen 2016, arXiv:1604.00772), from the middle of the space.

    Its state (mean, covariance, step size) is a note on the trial that began a generation. Choices are drawn at random:
    it has no order for them. An inactive parameter is drawn all the same and told as drawn, so that the distribution
    does not shrink where nothing was tried. Only the values of one generation are compared with each other. After a
    warm start from ten trials or more it begins where the best tenth lie (Nomura et al. 2021, arXiv:2012.06932).
    """

    name = "cmaes"
    notes = True

    def __init__(self, space: Space, seed: int, objective: Objective, population: int | None) -> None:
        super().__init__(space, seed, objective)
        self._population = population
        self._earlier: list[Any] = []

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import CmaEsSampler

        seed = derive_seed(self._seed, "cmaes", number)
        return CmaEsSampler(
            seed=seed,
            n_startup_trials=0,
            popsize=self._population,
            warn_independent_sampling=False,
            source_trials=self._earlier if len(self._earlier) >= _SOURCES else None,
        )

    def observe(self, event: Event) -> None:
        super().observe(event)
        if event.type == "sweep.warmed":
            self._earlier = [trial for past in self._history.trials.values() if (trial := self._source(past))]

    def _source(self, past: Past) -> Any:
        """An earlier sweep's trial with the numbers that are searched, all of them and no others; else None."""
        from optuna.trial import TrialState

        from orchestrator.policies.searchers.optuna_study import frozen

        numbers = self._numbers()
        if past.state not in ("finished", "stopped") or not numbers.keys() <= past.known.keys():
            return None
        point = {name: past.point[name] for name in numbers}
        return frozen(past.number, point, numbers, state=TrialState.COMPLETE, values=past.losses)

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        return self._numbers()

    def _numbers(self) -> dict[str, Any]:
        return {
            name: distribution
            for name, distribution in sorted(self._history.distributions.items())
            if not distribution.single() and not hasattr(distribution, "choices")
        }

    def _full(self, trial: Past) -> dict[str, Any]:
        return self._points.get(trial.number, {}) | trial.point
