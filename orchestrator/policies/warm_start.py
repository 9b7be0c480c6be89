"""Warm start: the trials of earlier sweeps, in the terms of a new one. A function of their journals."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.search_wrappers import build_searcher
from orchestrator.progress import value
from orchestrator.seeds import derive_seed
from orchestrator.space import Const, Space
from orchestrator.spec import SweepSpec, canonical
from orchestrator.state import SweepState, Trial

_USABLE = ("finished", "stopped")


def warmth(spec: SweepSpec, sources: Sequence[tuple[str, SweepState]]) -> dict[str, Any]:
    """Return the fields of the event ``sweep.warmed``: the trials of earlier runs, each with its run's name.

    Trials that finished or were stopped are used. A trial's value of a parameter of this space counts if it lies in the
    domain; any other is drawn at random, and ``drawn`` names it: the searchers learn nothing there. A trial without a
    parameter of this space is left out, and so is one that did not log all of several objectives.

    Raises:
        UsageError: A run was judged by another metric, none of its trials can be used, or the searcher uses no results.
    """
    if not build_searcher(spec).learns:
        message = f"searcher {spec.searcher.name} uses no results, so it cannot start from those of other sweeps"
        raise UsageError(message, hint="use searcher tpe, or leave out the warm start")
    trials: list[dict[str, Any]] = []
    for run, state in sources:
        _check_objective(spec, run, state)
        used = [_converted(spec, run, trial, state, len(trials) + index) for index, trial in enumerate(_ended(state))]
        if not any(used):
            raise UsageError(f"no trial of {run!r} has a parameter of this space", hint=_parameters(spec, state))
        trials += [trial for trial in used if trial]
    named = [{"run": run, "seq": state.seq} for run, state in sources]
    return {"metric": spec.objective.metric, "sources": named, "trials": trials}


def _ended(state: SweepState) -> list[Trial]:
    return [trial for _, trial in sorted(state.trials.items()) if trial.status in _USABLE]


def _check_objective(spec: SweepSpec, run: str, state: SweepState) -> None:
    earlier, present = state.objective, spec.objective
    if (earlier.metric, earlier.mode) != (present.metric, present.mode):
        raise UsageError(
            f"{run!r} was judged by {earlier.metric} ({earlier.mode}), not by {present.metric} ({present.mode})",
            hint="results of different metrics cannot be compared; leave that run out",
        )


def _converted(spec: SweepSpec, run: str, trial: Trial, state: SweepState, index: int) -> dict[str, Any] | None:
    best = state.objective.best(trial)
    also = {goal.metric: trial.value(best.progress, goal.metric) for goal in spec.objective.also} if best else {}
    if not all(map(math.isfinite, also.values())):
        return None
    trained = trial.params_at(best.progress) if best else trial.params
    values = {canonical(name): value for name, value in trained.items()}
    params, drawn = placed(spec.space, values, random.Random(derive_seed(spec.seed, "warm", index)))
    if not any(name not in drawn and not isinstance(spec.space[name], Const) for name in params):
        return None
    return {
        "run": run,
        "trial": trial.number,
        "params": params,
        "drawn": drawn,
        "status": trial.status,
        "value": best.value if best else None,
        **({"also": also} if also else {}),
        "epochs": _reached(trial, spec.progress.unit, state.unit),
    }


def _reached(trial: Trial, unit: str, earlier: str) -> float:
    """Return how far a trial of an earlier sweep came, in the unit of this one; 0 if its journal does not say."""
    if unit == earlier or not trial.reports:
        return trial.progress
    return value(asdict(trial.reports[trial.progress]), unit) or 0


def placed(space: Space, values: Mapping[str, Any], rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    """Return parameters of the space, from ``values`` if in the domain, and the names of those drawn at random."""
    params: dict[str, Any] = {}
    drawn: list[str] = []
    for name in space.order:
        if not space.active(params, name):
            continue
        domain, chance = space[name], space[name].sample(rng)
        key = canonical(name)
        if key in values and domain.contains(values[key]):
            params[name] = domain.canonical(values[key])
        else:
            params[name] = chance
            drawn.append(name)
    return params, drawn


def _parameters(spec: SweepSpec, state: SweepState) -> str:
    if not _ended(state):
        return "none of its trials has ended yet"
    searched = ", ".join(state.spec.get("space") or {}) or "nothing"
    return f"it searched {searched}; this one searches {', '.join(spec.space) or 'nothing'}"
