"""A Gaussian process, for the few trials of an expensive model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import quantiles
from typing import Any

from orchestrator.policies.searchers.history import Past
from orchestrator.policies.searchers.optuna_base import Sampled
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.space.domain import Coordinate
from orchestrator.state import Objective

HISTORY = 100
"""Trials that the process is fitted to, at most, half of them the best and half the newest; its cost is their cube."""


class GP(Sampled):
    """Optuna's GPSampler: expected improvement under a Gaussian process, with running trials taken into account.

    All parameters are modelled together. An inactive one stands at its domain's middle, wherever it is inactive, so
    that it makes no difference between the trials that do not have it; so does one that an earlier sweep had not.
    """

    name = "gp"

    def __init__(self, space: Space, seed: int, objective: Objective, startup_trials: int) -> None:
        super().__init__(space, seed, objective, startup_trials)
        self._middle = {
            name: space[name].encode(space[name].sample(Coordinate(0.5))) for name in self._history.distributions
        }

    def _sampler(self, number: int) -> Any:
        from optuna.samplers import GPSampler

        return GPSampler(seed=derive_seed(self._seed, "gp", number), n_startup_trials=0)

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        found = self._history.distributions.items()
        return {name: distribution for name, distribution in sorted(found) if not distribution.single()}

    def _full(self, trial: Past) -> dict[str, Any]:
        return self._middle | trial.known

    def _drawn_at_random(self, number: int) -> bool:
        ended = sum(trial.state not in ("running", "failed") for trial in self._history.trials.values())
        return ended < self._startup or not self._told()

    def _told(self) -> list[Past]:
        return [trial for trial in self._history.trials.values() if trial.state in ("finished", "stopped")]

    def _seen(self) -> list[Any]:
        """A bounded history, with the losses of diverged trials brought to the edge of the others' (Tukey's fence).

        A process is fitted to the losses' spread. One loss of a million would make all others look alike.
        """
        told = sorted(self._told(), key=lambda trial: trial.merit)
        half = HISTORY // 2
        newest = sorted(told[half:], key=lambda trial: trial.number)[-half:]
        fence = _fence([trial.loss for trial in told])
        numbers = sorted(trial.number for trial in told[:half] + newest)
        running = [trial.number for trial in self._history.trials.values() if trial.state == "running"][-HISTORY:]
        unfit = [trial.number for trial in self._history.trials.values() if trial.state == "unfit"][-half:]
        return [self._at_most(number, fence) for number in sorted(numbers + running + unfit)]

    def _at_most(self, number: int, fence: float) -> Any:
        from optuna.trial import TrialState

        from orchestrator.policies.searchers.optuna_study import frozen

        trial = self._trials[number]
        if trial.state != TrialState.COMPLETE or trial.value <= fence:
            return trial
        return frozen(number, trial.params, self._history.distributions, state=trial.state, values=(fence,))


def _fence(losses: list[float]) -> float:
    if len(losses) < 2:
        return math.inf
    low, _, high = quantiles(losses, n=4, method="inclusive")
    return high + 1.5 * (high - low)
