"""A Gaussian process, for the few trials of an expensive model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import quantiles
from typing import Any, Literal

from pydantic import Field

from orchestrator.policies.optuna_searcher import OptunaSearcher
from orchestrator.policies.searcher import Suggestion
from orchestrator.policies.trial_history import PastTrial
from orchestrator.seeds import derive_seed
from orchestrator.space.domain import Coordinate
from orchestrator.spec import SweepSpec, TryFirstOptions

HISTORY = 100
"""Trials that the process is fitted to, at most, half of them the best and half the newest; its cost is their cube."""


class GP(TryFirstOptions):
    """Optuna's Gaussian process with expected improvement: for some hundred expensive trials at most.

    Example:
        ```python
        searcher = orchestrator.GP(startup_trials=10)
        ```
    """

    name: Literal["gp"] = "gp"
    startup_trials: int = Field(
        default=10, ge=2, description="Trials that end before the model is used; until then at random.", examples=[10]
    )


class GPSearcher(OptunaSearcher[GP]):
    """Optuna's GPSampler: expected improvement under a Gaussian process, with running trials taken into account.

    All parameters are modelled together. An inactive one stands at its domain's middle, wherever it is inactive, so
    that it makes no difference between the trials that do not have it; so does one that an earlier sweep did not have.
    """

    several_objectives = False

    def __init__(self, options: GP, spec: SweepSpec) -> None:
        super().__init__(options, spec, startup_trials=options.startup_trials)
        self._middle = {
            name: self.space[name].encode(self.space[name].sample(Coordinate(0.5)))
            for name in self._history.distributions
        }

    @classmethod
    def explain(cls, options: GP, suggestion: Suggestion) -> str:
        """Say that the process proposed it."""
        return f"proposed by a Gaussian process from {suggestion.trials_before}"

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import GPSampler

        return GPSampler(seed=derive_seed(self.seed, "gp", number), n_startup_trials=0)

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        distributions = self._history.distributions.items()
        return {name: distribution for name, distribution in sorted(distributions) if not distribution.single()}

    def _full(self, trial: PastTrial) -> dict[str, Any]:
        return self._middle | trial.trained_point

    def _drawn_at_random(self, number: int) -> bool:
        ended = sum(trial.state not in ("running", "failed") for trial in self._history.trials.values())
        return ended < self._startup or not self._valued()

    def _valued(self) -> list[PastTrial]:
        return [trial for trial in self._history.trials.values() if trial.state in ("finished", "stopped")]

    def _visible_trials(self) -> list[Any]:
        """Return a bounded history, with the losses of diverged trials at the edge of the others' (Tukey's fence).

        A process is fitted to the losses' spread. One loss of a million would make all others seem alike.
        """
        valued = sorted(self._valued(), key=lambda trial: trial.merit)
        half = HISTORY // 2
        newest = sorted(valued[half:], key=lambda trial: trial.number)[-half:]
        fence = _fence([trial.loss for trial in valued])
        numbers = sorted(trial.number for trial in valued[:half] + newest)
        running = [trial.number for trial in self._history.trials.values() if trial.state == "running"][-HISTORY:]
        unfit = [trial.number for trial in self._history.trials.values() if trial.state == "unfit"][-half:]
        return [self._at_most(number, fence) for number in sorted(numbers + running + unfit)]

    def _at_most(self, number: int, fence: float) -> Any:
        from optuna.trial import TrialState

        from orchestrator.policies.optuna_study import frozen

        trial = self._trials[number]
        if trial.state != TrialState.COMPLETE or trial.value <= fence:
            return trial
        return frozen(number, trial.params, self._history.distributions, state=trial.state, values=(fence,))


def _fence(losses: list[float]) -> float:
    if len(losses) < 2:
        return math.inf
    low, _, high = quantiles(losses, n=4, method="inclusive")
    return high + 1.5 * (high - low)
