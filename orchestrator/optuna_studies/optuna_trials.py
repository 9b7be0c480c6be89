"""Translate trials and their parameters into Optuna's frozen trials and distributions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from orchestrator.codec import display
from orchestrator.progress import EPOCHS, axis, counted, noun
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
    """What is common to the trials of a sweep: run, objective, domains, and Optuna's ids, which begin at ``first``.

    ``alive`` says whether a process runs the sweep, ``curves`` whether intermediate values are included. ``unit`` is
    that of progress.
    """

    run: RunDirectory
    objective: Objective
    space: Mapping[str, DisplayDomain]
    first: int
    alive: bool
    curves: bool
    unit: str = EPOCHS

    def trial(self, trial: Trial) -> FrozenTrial:
        """Return the trial with its parameters and values at its best finite report.

        Optuna has no values for a running trial, and with several objectives only complete trials have values.
        """
        best = self.objective.best(trial)
        values = self.values(trial, best)
        state = self._state(trial, values)
        params, outside = self._params(trial.params_at(best.progress) if best else trial.params)
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
        """Return the objectives at the trial's best report; None if one is not finite."""
        if best is None:
            return None
        values = [best.value, *(trial.value(best.progress, goal.metric) for goal in self.objective.also)]
        return values if all(map(math.isfinite, values)) else None

    def _state(self, trial: Trial, values: list[float] | None) -> TrialState:
        if trial.status == "running":
            return TrialState.RUNNING if self.alive else TrialState.WAITING
        if trial.status == "stopped":
            return TrialState.COMPLETE if self.objective.also and values else TrialState.PRUNED
        if trial.status == "finished":
            return TrialState.COMPLETE if values else TrialState.FAIL
        return _WAITING[trial.status]

    def _params(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters inside the distributions, and the others as text (a newer version may allow more)."""
        inside, outside = {}, {}
        for name, value in params.items():
            try:
                inside[name] = self.space[name].value(value)
            except (KeyError, ValueError):
                outside[f"parameter {visible(name)}"] = visible(str(value))
        return inside, outside

    def _curve(self, trial: Trial) -> dict[int, float]:
        """Return the objective by report; Optuna counts in whole steps, so fractions are numbered from 1."""
        places = sorted(trial.reports)
        whole = all(isinstance(progress, int) for progress in places)
        values = ((progress, self.objective.value(trial.reports[progress].metrics)) for progress in places)
        points = ((int(progress) if whole else number, value) for number, (progress, value) in enumerate(values, 1))
        return {step: value for step, value in points if math.isfinite(value)}

    def _attributes(self, trial: Trial, best: Best | None) -> dict[str, Any]:
        interrupted = trial.status == "running" and not self.alive
        status = "interrupted" if interrupted else trial.status.replace("_", " ")
        attributes: dict[str, Any] = {"status": status, noun(self.unit): trial.progress}
        if reason := _reason(trial, self.unit):
            attributes["why"] = visible(reason)
        if trial.configuration != trial.number:
            attributes["repeats trial"] = trial.configuration
        if trial.takeovers:
            attributes["weights taken over"] = (
                f"from trial {trial.takeovers[-1].donor}, {counted(len(trial.takeovers), 'time')} in all"
            )
        attributes["suggested by"] = visible(trial.by)
        return attributes | (self._at_best(trial, best) if best else {})

    def _at_best(self, trial: Trial, best: Best) -> dict[str, Any]:
        checkpoint, metrics = trial.checkpoints.get(best.progress), trial.reports[best.progress].metrics
        attributes: dict[str, Any] = {f"best {axis(self.unit)}": best.progress}
        if checkpoint:
            attributes["checkpoint"] = visible(str(self.run.root / checkpoint.path))
        rest = {name: value for name, value in metrics.items() if name != self.objective.metric}
        return attributes | {f"metric {visible(name)}": value for name, value in sorted(rest.items())}


def _reason(trial: Trial, unit: str) -> str:
    if trial.status == "stopped":
        return stop_reason(trial.stopped_by, unit)
    return trial.failures[-1].message if trial.failures and trial.status == "failed" else ""


_DEVIATIONS = 6  # standard deviations; draws are truncated there
_SCALARS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class DisplayDomain:
    """A domain as an Optuna distribution; ``as_text`` if Optuna cannot hold one of its values."""

    distribution: BaseDistribution
    as_text: bool = False

    def value(self, value: Any) -> Any:
        """Return the value as the distribution holds it.

        Raises:
            ValueError: If it is outside.
        """
        value = display(value)
        converted = _text(value) if self.as_text else _plain(value)
        self.distribution.to_internal_repr(converted)
        return converted


def display_domains(space: Space) -> dict[str, DisplayDomain]:
    """Return each parameter's domain, with values as written rather than as searchers encode them."""
    return {name: _display_domain(domain) for name, domain in space.items()}


def _display_domain(domain: Domain) -> DisplayDomain:
    if isinstance(domain, Choice | Const):
        values = tuple(map(display, domain.values if isinstance(domain, Choice) else (domain.value,)))
        as_text = not _distinct_scalars(values)
        return DisplayDomain(CategoricalDistribution([_text(v) if as_text else _plain(v) for v in values]), as_text)
    if isinstance(domain, Normal):
        return DisplayDomain(_normal(domain))
    return DisplayDomain(domain.optuna_distribution())


def _distinct_scalars(values: tuple[Any, ...]) -> bool:
    """Return whether Optuna can distinguish the values; to Optuna 1 equals true."""
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
