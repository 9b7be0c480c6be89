"""Warm start: what earlier sweeps found, brought into the terms of a new one. A function of their journals."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.search_wrappers import build_searcher
from orchestrator.seeds import derive_seed
from orchestrator.space import Const, Space
from orchestrator.spec import SweepSpec, canonical
from orchestrator.state import SweepState, Trial

_TAKEN = ("finished", "stopped")


def warmth(spec: SweepSpec, sources: Sequence[tuple[str, SweepState]]) -> dict[str, Any]:
    """The fields of the event ``sweep.warmed``: the trials of earlier runs, each by its run's name, in this space.

    Taken are those that finished or were stopped. What a trial says of a parameter of this space counts if it lies in
    its domain; what it leaves open is drawn at random, and ``drawn`` names it: our own searchers learn nothing there.
    A trial that says nothing of this space is left out, as is one that did not log all of several objectives.

    Raises UsageError where a run was judged by another metric or nothing in it can be taken, or the searcher would not
    look at it.
    """
    if not build_searcher(spec).learns:
        message = f"searcher {spec.searcher.name} looks at no results, so it cannot start from those of others"
        raise UsageError(message, hint="use searcher tpe, or leave out the warm start")
    trials: list[dict[str, Any]] = []
    for run, state in sources:
        _check_objective(spec, run, state)
        found = [_taken(spec, run, trial, state, len(trials) + index) for index, trial in enumerate(_ended(state))]
        if not any(found):
            raise UsageError(f"no trial of {run!r} says anything of this space", hint=_parameters(spec, state))
        trials += [trial for trial in found if trial]
    named = [{"run": run, "seq": state.seq} for run, state in sources]
    return {"metric": spec.objective.metric, "sources": named, "trials": trials}


def _ended(state: SweepState) -> list[Trial]:
    return [trial for _, trial in sorted(state.trials.items()) if trial.status in _TAKEN]


def _check_objective(spec: SweepSpec, run: str, state: SweepState) -> None:
    theirs, ours = state.objective, spec.objective
    if (theirs.metric, theirs.mode) != (ours.metric, ours.mode):
        raise UsageError(
            f"{run!r} was judged by {theirs.metric} ({theirs.mode}), and this sweep is by {ours.metric} ({ours.mode})",
            hint="results can be compared by one metric alone; leave that run out",
        )


def _taken(spec: SweepSpec, run: str, trial: Trial, state: SweepState, index: int) -> dict[str, Any] | None:
    best = state.objective.best(trial)
    also = {goal.metric: trial.value(best.epoch, goal.metric) for goal in spec.objective.also} if best else {}
    if not all(map(math.isfinite, also.values())):
        return None
    known = trial.params_at(best.epoch) if best else trial.params
    said = {canonical(name): value for name, value in known.items()}
    params, drawn = placed(spec.space, said, random.Random(derive_seed(spec.seed, "warm", index)))
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
        "epochs": trial.epoch,
    }


def placed(space: Space, said: Mapping[str, Any], rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    """Parameters of the space, as ``said`` where that lies in the domain; and the names of those drawn at random."""
    params: dict[str, Any] = {}
    drawn: list[str] = []
    for name in space.order:
        if not space.active(params, name):
            continue
        domain, chance = space[name], space[name].sample(rng)
        value = said.get(canonical(name), said)
        if value is not said and domain.contains(value):
            params[name] = domain.canonical(value)
        else:
            params[name] = chance
            drawn.append(name)
    return params, drawn


def _parameters(spec: SweepSpec, state: SweepState) -> str:
    if not _ended(state):
        return "none of its trials has ended yet"
    known = ", ".join(state.spec.get("space") or {}) or "nothing"
    return f"it searched {known}; this one searches {', '.join(spec.space) or 'nothing'}"
