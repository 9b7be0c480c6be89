"""Finals: a race of the best configurations of a search, and what its journal records of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.searchers.race import LEAST_SEEDS
from orchestrator.policies.winner_statistics import Estimate, estimates
from orchestrator.seeds import derive_seed
from orchestrator.spec import Finalists, SweepSpec, from_mapping
from orchestrator.spec.budget_checks import RESERVED
from orchestrator.state import SweepState, spec_in_force

LEVEL = 0.9
"""Of the intervals that are reported."""


@dataclass(frozen=True)
class Candidate:
    """A configuration of the search: the ``number`` of its (first) trial, and its ``value`` there."""

    number: int
    params: Mapping[str, Any]
    value: float


def candidates(state: SweepState) -> Iterator[Candidate]:
    """Yield the configurations that have a value, best first. The same parameters come once, however often suggested.

    If trials have changed their parameters on the way (population-based training), those of the best epoch count.
    """
    seen: list[Mapping[str, Any]] = []
    for candidate in _ranked(state):
        if candidate.params not in seen:
            seen.append(candidate.params)
            yield candidate


def finals(state: SweepState, finalists: Finalists, number: int, name: str = "finals") -> SweepSpec:
    """Return the spec of a race for the finals of that ``number``, from 1: what the search trained, under fresh seeds.

    Raises:
        UsageError: No trial has a value.
    """
    spec, ranked = spec_in_force(state), list(candidates(state))
    if not ranked:
        raise UsageError(
            f"no trial of {spec.name!r} has a finite {state.objective.metric}: there is nothing to confirm",
            hint=f"see what happened: sweep results {spec.name}",
        )
    loss = state.objective.loss
    room = max(finalists.top, min(2 * finalists.top, finalists.trials // LEAST_SEEDS))
    top, near = ranked[: finalists.top], ranked[finalists.top : room]
    last = loss(top[-1].value)
    searcher = {
        "name": "race",
        "points": [dict(candidate.params) for candidate in top],
        "spares": [{"point": dict(each.params), "behind": loss(each.value) - last} for each in near],
        "confidence": finalists.confidence,
    }
    parts = ("model", "data", "optimizer", "lr_scheduler", "objects", "train", "program", "command", "args", "trainer")
    kept = ("constraints", *parts, "progress", "space", "resources", "recovery", "tracking")
    written = spec.model_dump(mode="json")
    return from_mapping(
        {
            **{part: written[part] for part in kept if part in written},
            "name": name,
            "seed": derive_seed(spec.seed, "finals", number),
            "objective": {"metric": spec.objective.metric, "mode": spec.objective.mode},
            "searcher": searcher,
            "scheduler": {"name": "fifo"},
            "budget": {"trials": finalists.trials} | _reserved(spec),
            "checkpoints": {"keep_top": 1},
        }
    )


def confirmation(state: SweepState, raced: SweepState) -> dict[str, Any]:
    """Return the result of the finals, as the journal of the search holds it.

    ``table`` has a row a finalist, best first: ``configuration`` and ``searched`` are its number and value in the
    search, ``values`` and ``mean`` those of the finals, ``low`` and ``high`` the interval of probability ``level`` for
    the mean of further trainings, ``probability`` that of being the best. ``first`` is the one that the search had
    first, and ``optimism`` by how much its number there was better than the mean of its fresh trainings. ``winner`` is
    the first of the table: its best trial of the finals.

    Raises:
        UsageError: No training of the finals has a value.
    """
    won = raced.winner()
    best = raced.objective.best(won) if won else None
    if won is None or best is None:
        hint = f"see what happened: sweep results {raced.spec['name']} --runs runs/{state.spec['name']}"
        raise UsageError("no training of the finals has a finite value", hint=hint)
    searched_by_params = {_key(each.params): each for each in reversed(list(candidates(state)))}
    ranked = list(raced.configurations())
    objective = raced.objective
    computed = estimates([[objective.loss(value) for value in each.values] for each in ranked], LEVEL)
    table = []
    for each, estimate in zip(ranked, computed, strict=True):
        searched = searched_by_params[_key(raced.trials[each.first].params)]
        failed = sum(1 for trial in each.trials if objective.best(raced.trials[trial]) is None)
        row = {"configuration": searched.number, "searched": searched.value, "trials": list(each.trials)}
        table.append({**row, "values": list(each.values), "failed": failed, **_numbers(estimate, objective.loss)})
    first = min(table, key=lambda row: (objective.loss(row["searched"]), row["configuration"]))
    optimism = None if first["mean"] is None else objective.loss(first["mean"]) - objective.loss(first["searched"])
    chance, confidence = table[0]["probability"], raced.spec["searcher"]["confidence"]
    place = {"epoch": won.reports[best.progress].epoch}
    if best.progress != place["epoch"]:  # else as earlier versions recorded it
        place["progress"] = best.progress
    winner = {"configuration": table[0]["configuration"], "trial": won.number, **place, "value": best.value}
    summary = {"level": LEVEL, "confidence": confidence, "clear": chance >= confidence, "optimism": optimism}
    return {**summary, "first": first["configuration"], "winner": winner, "table": table, "journal": raced.seq}


def _ranked(state: SweepState) -> Iterator[Candidate]:
    if state.repeated:
        for each in state.configurations():
            if each.mean is not None and math.isfinite(each.mean):
                yield Candidate(each.first, state.trials[each.first].params, each.mean)
        return
    for trial in state.ranking():
        best = state.objective.best(trial) if trial.status != "failed" else None
        if best:
            yield Candidate(trial.number, trial.params_at(best.progress), best.value)


def _reserved(spec: SweepSpec) -> dict[str, Any]:
    """Return what the search has kept of its limits for the finals."""
    limits = {key: getattr(spec.budget, key) for key in RESERVED}
    kept = {key: limit * spec.budget.reserve for key, limit in limits.items() if limit and spec.budget.reserve}
    return kept | ({"epochs": max(1, int(kept["epochs"]))} if "epochs" in kept else {})


def _numbers(estimate: Estimate | None, from_loss: Any) -> dict[str, Any]:
    """Return an estimate in the metric's own sign; null for what is unknown."""
    if estimate is None:
        return {"mean": None, "low": None, "high": None, "probability": 0.0}
    ends = sorted((from_loss(estimate.low), from_loss(estimate.high)))
    low, high = (end if math.isfinite(end) else None for end in ends)
    return {"mean": from_loss(estimate.mean), "low": low, "high": high, "probability": estimate.probability}


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
