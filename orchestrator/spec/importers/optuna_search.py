"""Translate an Optuna study: the distributions of its trials become the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.space import Domain, choice, const, integer, log_int, log_uniform, uniform
from orchestrator.space.domain import same_value
from orchestrator.spec.foreign_trials import optuna_study
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile


def translate(path: Path, door: Door) -> Draft:
    """Return the draft of the search that a storage holds.

    A parameter that only some trials have gets a condition where one value of a choice explains which have it.

    Raises:
        UsageError: The storage holds no study, or several and ``path`` names none of them.
    """
    with optuna_study(path) as study:
        trials = study.get_trials(deepcopy=False)
        found: dict[str, Any] = {}
        differing = set()
        for trial in trials:
            for name, distribution in trial.distributions.items():
                if name in found and found[name] != distribution:
                    differing.add(name)
                found[name] = distribution
        goals = [direction.name.lower() for direction in study.directions]
        metrics, title = study.metric_names or [], study.study_name
    parameters = {name: repr(distribution) for name, distribution in found.items()}
    source = ForeignFile(str(path), {"study_name": title, "directions": goals, "parameters": parameters})
    draft = Draft(source)
    draft.name(title)
    none_yet = "has no trial yet, so that no parameter is known"
    warm = f"has {len(trials)} trials: start with them by --warm-start {path}" if trials else none_yet
    draft.note(f"the study {title} {warm}", "study_name")
    if not trials:
        draft.take("parameters")
    _objective(goals, metrics, draft)
    door.open(draft)
    draft.sections["space"] = {}
    sampled = [trial.params for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    for name, distribution in found.items():
        target = door.target(name)
        varied = "; it differs among trials, and this is the last" if name in differing else ""
        when = _condition(name, sampled, found)
        if when:
            varied += f"; it has a condition, as all {len(sampled)} trials have it so"
        elif count := sum(name not in params for params in sampled):
            varied += f"; {count} of {len(sampled)} trials do not have it: write a `when` if it has a condition"
        draft.sections["space"][target] = _domain(distribution).to_yaml() | (
            {"when": {door.target(parent): values for parent, values in when.items()}} if when else {}
        )
        draft.note(f"{name}: {distribution!r} became {target}{varied}", "parameters", name)
    searcher = "tpe" if len(goals) == 1 else "nsga2"  # as Optuna has it by default
    draft.note(f"a storage does not name the sampler and the pruner: searcher {searcher}, and the default scheduler")
    draft.sections["searcher"] = {"name": searcher}
    if not door.train:
        set_training_length(draft, {})
    trials_in_all = note_budget(draft, "number of trials to run", "Optuna's optimize() names it")
    draft.sections["budget"] = {"trials": trials_in_all}
    return draft


def _objective(goals: list[str], metrics: list[str], draft: Draft) -> None:
    modes = ["max" if goal == "maximize" else "min" for goal in goals]
    if not metrics:
        draft.note(
            "the study does not name its metric: objective.metric is val_loss; put the name that the module logs"
        )
    names = list(metrics) or ["val_loss", *(f"objective_{index}" for index in range(1, len(goals)))]
    draft.sections["objective"] = {"metric": names[0], "mode": modes[0]}
    if len(goals) > 1:
        others = [{"metric": name, "mode": mode} for name, mode in zip(names[1:], modes[1:], strict=False)]
        draft.sections["objective"]["also"] = others
    draft.take("directions")


def _condition(name: str, sampled: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the choice, and those values of it, with which each trial has the parameter, and no other has it."""
    having, lacking = ([params for params in sampled if (name in params) is has] for has in (True, False))
    for parent, distribution in found.items() if lacking else ():
        if parent == name or not hasattr(distribution, "choices") or any(parent not in params for params in having):
            continue
        held = {same_value(params[parent]) for params in having}
        if not any(parent in params and same_value(params[parent]) in held for params in lacking):
            return {parent: [value for value in distribution.choices if same_value(value) in held]}
    return {}


def _domain(distribution: Any) -> Domain:
    if hasattr(distribution, "choices"):
        return choice(list(distribution.choices))
    low, high, step = distribution.low, distribution.high, distribution.step
    if low == high:
        return const(low)
    if type(distribution).__name__ == "IntDistribution":
        return (log_int if distribution.log else integer)(low, high, None if step == 1 else step)
    return (log_uniform if distribution.log else uniform)(low, high, step)
