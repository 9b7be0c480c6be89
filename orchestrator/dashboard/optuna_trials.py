"""A trial of ours as Optuna has one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from orchestrator.results.why import stop_reason
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.space import Domain, Space
from orchestrator.space.choices import Choice, Const
from orchestrator.space.normals import LogNormal, Normal
from orchestrator.state import Best, Objective, Trial

_WAITING = {"interrupted": TrialState.WAITING, "set_aside": TrialState.WAITING, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class View:
    """What all trials of a sweep are shown by. ``alive`` says whether a process runs it; ids begin at ``first``."""

    run: RunDirectory
    objective: Objective
    space: Mapping[str, Shown]
    first: int
    alive: bool
    curves: bool

    def trial(self, trial: Trial) -> FrozenTrial:
        """The trial, with what it had at its best finite epoch.

        Optuna has no values for one that goes on, and none but complete trials where there are several objectives.
        """
        best = self.objective.best(trial)
        values = self.values(trial, best)
        state = self._state(trial, values)
        params, outside = self._params(trial.params_at(best.epoch) if best else trial.params)
        return FrozenTrial(
            number=trial.number,
            trial_id=self.first + trial.number,
            state=state,
            value=None,
            values=values if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            datetime_start=datetime.fromtimestamp(trial.started),
            datetime_complete=datetime.fromtimestamp(trial.ended) if trial.ended else None,
            params=params,
            distributions={name: self.space[name].distribution for name in params},
            user_attrs=self._attributes(trial, best) | outside,
            system_attrs={},
            intermediate_values=self._curve(trial) if self.curves else {},
        )

    def values(self, trial: Trial, best: Best | None) -> list[float] | None:
        """The objectives at its best epoch; None where one of them is no finite number."""
        if best is None:
            return None
        found = [best.value, *(trial.value(best.epoch, goal.metric) for goal in self.objective.also)]
        return found if all(map(math.isfinite, found)) else None

    def _state(self, trial: Trial, values: list[float] | None) -> TrialState:
        if trial.status == "running":
            return TrialState.RUNNING if self.alive else TrialState.WAITING
        if trial.status == "stopped":
            return TrialState.COMPLETE if self.objective.also and values else TrialState.PRUNED
        if trial.status == "finished":
            return TrialState.COMPLETE if values else TrialState.FAIL
        return _WAITING[trial.status]

    def _params(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those that Optuna has a place for, and the others: a newer version may have written what this one refuses."""
        found, outside = {}, {}
        for name, value in params.items():
            try:
                found[name] = self.space[name].value(value)
            except (KeyError, ValueError):
                outside[f"parameter {visible(name)}"] = visible(str(value))
        return found, outside

    def _curve(self, trial: Trial) -> dict[int, float]:
        found = ((epoch, self.objective.value(report.metrics)) for epoch, report in trial.reports.items())
        return {epoch: value for epoch, value in found if math.isfinite(value)}

    def _attributes(self, trial: Trial, best: Best | None) -> dict[str, Any]:
        cut_off = trial.status == "running" and not self.alive
        status = "interrupted" if cut_off else trial.status.replace("_", " ")
        found: dict[str, Any] = {"status": status, "epochs": trial.epoch}
        if reason := _reason(trial):
            found["why"] = visible(reason)
        if trial.configuration != trial.number:
            found["repeats trial"] = trial.configuration
        if trial.takeovers:
            found["taken over"] = f"from trial {trial.takeovers[-1].donor}, {len(trial.takeovers)} times in all"
        found["suggested by"] = visible(trial.by)
        return found | (self._at_best(trial, best) if best else {})

    def _at_best(self, trial: Trial, best: Best) -> dict[str, Any]:
        kept, metrics = trial.checkpoints.get(best.epoch), trial.reports[best.epoch].metrics
        found: dict[str, Any] = {"best epoch": best.epoch}
        if kept:
            found["checkpoint"] = visible(str(self.run.root / kept.path))
        others = {name: value for name, value in metrics.items() if name != self.objective.metric}
        return found | {f"metric {visible(name)}": value for name, value in sorted(others.items())}


def _reason(trial: Trial) -> str:
    if trial.status == "stopped":
        return stop_reason(trial.stopped_by)
    return trial.failures[-1].message if trial.failures and trial.status == "failed" else ""


_DEVIATIONS = 6  # a draw is never further from the mean
_SCALARS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Shown:
    """A domain as Optuna has it: ``as_text`` where some value of it is none that Optuna knows."""

    distribution: BaseDistribution
    as_text: bool = False

    def value(self, value: Any) -> Any:
        """The value as the distribution has it. Raises ValueError where it is outside."""
        found = _text(value) if self.as_text else _plain(value)
        self.distribution.to_internal_repr(found)
        return found


def shown(space: Space) -> dict[str, Shown]:
    """Each parameter's domain."""
    return {name: _shown(domain) for name, domain in space.items()}


def _shown(domain: Domain) -> Shown:
    if isinstance(domain, Choice | Const):
        values = domain.values if isinstance(domain, Choice) else (domain.value,)
        as_text = not _distinct_scalars(values)
        return Shown(CategoricalDistribution([_text(v) if as_text else _plain(v) for v in values]), as_text)
    if isinstance(domain, Normal):
        return Shown(_normal(domain))
    return Shown(domain.optuna_distribution())


def _distinct_scalars(values: tuple[Any, ...]) -> bool:
    """Whether Optuna can tell them apart: to it, 1 is true."""
    return all(isinstance(value, _SCALARS) for value in values) and len(set(values)) == len(values)


def _text(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False))


def _plain(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


def _normal(domain: Normal) -> FloatDistribution:
    low, high = (domain.mean + sign * _DEVIATIONS * domain.std for sign in (-1, 1))
    if not isinstance(domain, LogNormal):
        return FloatDistribution(low, high)
    low, high = (math.exp(min(max(end, -700.0), 700.0)) for end in (low, high))
    return FloatDistribution(low, high, log=True)
