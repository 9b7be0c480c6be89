"""Covariance matrix adaptation (CMA-ES), for many trials of a few numeric parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.journal import Event
from orchestrator.policies.optuna_searcher import OptunaSearcher
from orchestrator.policies.searcher import Suggestion
from orchestrator.policies.trial_history import PastTrial
from orchestrator.seeds import derive_seed
from orchestrator.spec import SweepSpec, TryFirstOptions
from orchestrator.spec.initial_points import has_numbers

_SOURCES = 10  # trials of earlier sweeps that it needs to begin where the best tenth lie


class CMAES(TryFirstOptions):
    """Optuna's CMA-ES: moves a normal distribution towards what did well. For many trials of numeric parameters.

    Example:
        ```python
        searcher = orchestrator.CMAES()
        ```
    """

    name: Literal["cmaes"] = "cmaes"
    population: int | None = Field(
        default=None, ge=4, description="Trials of a generation; 4 + 3 ln(parameters) by default.", examples=[12]
    )


class CMAESSearcher(OptunaSearcher[CMAES]):
    """Optuna's CmaEsSampler (Hansen 2016, arXiv:1604.00772), from the middle of the space.

    Its state (mean, covariance, step size) is a note on the trial that began a generation. Choices are drawn at random:
    it has no order for them. An inactive parameter is drawn all the same and shown as drawn, so that the distribution
    does not shrink where nothing was tried. Only the values of one generation are compared with each other. After a
    warm start from ten trials or more it begins where the best tenth lie (Nomura et al. 2021, arXiv:2012.06932).
    """

    notes = True
    several_objectives = False

    def __init__(self, options: CMAES, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._earlier: list[Any] = []

    @classmethod
    def problems(cls, options: CMAES, spec: SweepSpec) -> Iterator[Problem]:
        """Yield that there is no number to search, if so."""
        if spec.space and not has_numbers(spec.space):
            message = "searcher cmaes needs a number to search, but every parameter is a choice"
            yield Problem(message, "use searcher tpe", ("searcher",))

    @classmethod
    def explain(cls, options: CMAES, suggestion: Suggestion) -> str:
        """Say that it was drawn from the last generation's distribution."""
        return "drawn by CMA-ES from where the generation before it did well"

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import CmaEsSampler

        seed = derive_seed(self.seed, "cmaes", number)
        return CmaEsSampler(
            seed=seed,
            n_startup_trials=0,
            popsize=self.options.population,
            warn_independent_sampling=False,
            source_trials=self._earlier if len(self._earlier) >= _SOURCES else None,
        )

    def observe(self, event: Event) -> None:
        """Take note of an event, and of the trials of a warm start as a starting point."""
        super().observe(event)
        if event.type == "sweep.warmed":
            self._earlier = [trial for past in self._history.trials.values() if (trial := self._source(past))]

    def _source(self, past: PastTrial) -> Any:
        """Return an earlier sweep's trial with all numbers that are searched and no others; else None."""
        from optuna.trial import TrialState

        from orchestrator.policies.optuna_study import frozen

        numbers = self._numbers()
        if past.state not in ("finished", "stopped") or not numbers.keys() <= past.trained_point.keys():
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

    def _full(self, trial: PastTrial) -> dict[str, Any]:
        return self._points.get(trial.number, {}) | trial.point
