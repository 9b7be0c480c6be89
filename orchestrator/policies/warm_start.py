"""Warm start: the trials of earlier sweeps, in the terms of a new one. A function of their journals."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.distinct import distinct_configurations
from orchestrator.policies.search_wrappers import build_searcher
from orchestrator.progress import value
from orchestrator.seeds import derive_seed
from orchestrator.space import Const, Space
from orchestrator.space.domain import same_value
from orchestrator.spec import SweepSpec, canonical
from orchestrator.spec.foreign_trials import ForeignTrial
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
        if distinct_configurations(spec) is not None:
            return _trained_points(spec, sources)
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


def foreign_warmth(spec: SweepSpec, sources: Sequence[tuple[str, Sequence[ForeignTrial]]]) -> dict[str, Any]:
    """Return the fields of ``sweep.warmed`` for the trials of other tools, as `warmth` does for runs.

    A parameter is that of the same name, or the only one whose last part has that name: ``lr`` is ``model.lr``.

    Raises:
        UsageError: No trial can be used, or the searcher uses no results.
    """
    if not build_searcher(spec).learns:
        raise UsageError(f"searcher {spec.searcher.name} uses no results of other tools", hint="use searcher tpe")
    trials: list[dict[str, Any]] = []
    for source, found in sources:
        used = 0
        for trial in found:
            values = _own_names(spec.space, trial.params)
            rng = random.Random(derive_seed(spec.seed, "warm", len(trials)))
            params, drawn = placed(spec.space, values, rng)
            if trial.value is None or not any(name not in drawn for name in params):
                continue
            used += 1
            trials.append({"run": source, "trial": trial.number, "params": params, "drawn": drawn,
                           "status": trial.status, "value": trial.value, "epochs": 0})  # fmt: skip
        if not used:
            names = ", ".join(dict.fromkeys(name for trial in found for name in trial.params)) or "nothing"
            hint = f"it has {names}; this one searches {', '.join(spec.space) or 'nothing'}"
            raise UsageError(f"no trial of {source} has a parameter and a value in this space", hint=hint)
    named = [{"run": source, "seq": 0} for source, _ in sources]
    return {"metric": spec.objective.metric, "sources": named, "trials": trials}


def _own_names(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for name, item in params.items():
        key = canonical(name)
        ends = [other for other in map(canonical, space) if other == key or other.endswith(f".{key}")]
        if len(ends) == 1:
            own[ends[0]] = item
    return own


def _trained_points(spec: SweepSpec, sources: Sequence[tuple[str, SweepState]]) -> dict[str, Any]:
    """Return the fields of ``sweep.warmed`` for a searcher that only leaves out what was trained.

    A trial counts if it finished, and each of its parameters lies in this space.

    Raises:
        UsageError: A run trained something else, or nothing is left to train.
    """
    trials: dict[str, dict[str, Any]] = {}
    for run, state in sources:
        _check_objective(spec, run, state)
        _check_same_training(spec, run, state)
        for trial in _ended(state):
            known = _converted(spec, run, trial, state, 0) if trial.status == "finished" else None
            if known and not known["drawn"]:
                trials.setdefault(same_value(known["params"]), known)
    names = " and ".join(run for run, _ in sources)
    if not trials:
        hint = _parameters(spec, sources[0][1])
        raise UsageError(f"no finished trial of {names} is a configuration of this space", hint=hint)
    size = distinct_configurations(spec)
    if size is not None and len(trials) >= size:
        hint = "nothing is left to train; add values to the space"
        raise UsageError(f"all {size:,} configurations of this space were trained in {names}", hint=hint)
    named = [{"run": run, "seq": state.seq} for run, state in sources]
    return {"metric": spec.objective.metric, "sources": named, "trials": list(trials.values())}


def _check_same_training(spec: SweepSpec, run: str, state: SweepState) -> None:
    """Raise UsageError if a run's trials were not trained as those of this sweep would be."""
    present = spec.model_dump(mode="json")
    searched = {canonical(name) for name in (*spec.space, *(state.spec.get("space") or {}))}
    for section in _TRAINING:
        earlier, own = (_fixed(part.get(section), section, searched) for part in (state.spec, present))
        if earlier != own:
            raise UsageError(
                f"{run!r} has another `{section}`, so its results are not those of this sweep's configurations",
                hint=f"leave the warm start out, or use the `{section}` of {run!r}",
            )


_TRAINING = ("model", "data", "optimizer", "lr_scheduler", "objects", "trainer")


def _fixed(value: Any, path: str, searched: set[str]) -> Any:
    """Return a section without what is searched; None for nothing."""
    if not isinstance(value, Mapping):
        return value
    items = {
        key: _fixed(item, canonical(f"{path}.{key}"), searched)
        for key, item in value.items()
        if canonical(f"{path}.{key}") not in searched
    }
    return {key: item for key, item in items.items() if item not in (None, {})} or None


def covered_notice(warm: Mapping[str, Any], spec: SweepSpec) -> str:
    """Return how many configurations are not trained again; empty for a searcher that learns from results."""
    if build_searcher(spec).learns:
        return ""
    runs = " and ".join(dict.fromkeys(str(trial["run"]) for trial in warm["trials"]))
    count, size = len(warm["trials"]), distinct_configurations(spec)
    return f"{count:,} of the space's {size:,} configurations were trained in {runs} and are not trained again"


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
