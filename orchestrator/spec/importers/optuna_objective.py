"""Translate an Optuna objective in a Python file, without running it: what it suggests becomes the space."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, integer, log_int, log_uniform, uniform
from orchestrator.spec.importers.defaults import note_budget
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.python_values import Call, PythonValues, Unknown

_ORDERS = {
    "suggest_float": ("name", "low", "high"),
    "suggest_int": ("name", "low", "high", "step", "log"),
    "suggest_categorical": ("name", "choices"),
    "suggest_uniform": ("name", "low", "high"),
    "suggest_loguniform": ("name", "low", "high"),
    "suggest_discrete_uniform": ("name", "low", "high", "q"),
}
_SEARCHERS = {"TPESampler": "tpe", "RandomSampler": "random", "CmaEsSampler": "cmaes", "GPSampler": "gp",
              "QMCSampler": "sobol"}  # fmt: skip
_SEARCHERS_OF_SEVERAL = {"NSGAIIISampler": "nsga3", "RandomSampler": "random", "QMCSampler": "sobol",
                         "TPESampler": ""}  # fmt: skip
_SCHEDULERS = {"MedianPruner": "median", "SuccessiveHalvingPruner": "asha", "HyperbandPruner": "asha",
               "NopPruner": "fifo"}  # fmt: skip
_FOR_LIGHTNING = "PyTorchLightningPruningCallback"
_MOST_RESULTS = 64  # of a parameter that others depend on
_MODES = {"minimize": "min", "maximize": "max"}


def suggestions(values: PythonValues) -> list[Call]:
    """Return the calls by which a file's objectives ask for parameters."""
    return [call for call in values.calls if call.name in _ORDERS]


def results(call: Call) -> list[Any]:
    """Return the values that a suggestion may return; none if they are unknown or many."""
    try:
        domain = _domain(call.name, _given(call)) if call.name in ("suggest_int", "suggest_categorical") else None
    except (SpecError, ValueError, TypeError, KeyError):
        return []
    return domain.grid() if domain is not None and domain.size is not None and domain.size <= _MOST_RESULTS else []


def translate(source: ForeignFile, text: str, values: PythonValues, door: Door) -> Draft:
    """Return the draft of the search that an objective and its study describe."""
    calls = {call.name: call for call in reversed(values.calls)}
    study, run = calls.get("create_study", Call("")), calls.get("optimize", Call(""))
    suggested = suggestions(values)
    source.data = {call.text: _given(call) for call in suggested}
    draft = Draft(source)
    draft.name()
    several = study.named.get("directions") or [study.named.get("direction", "minimize")]
    if not isinstance(several, list):
        raise source.refusal("only running the file would tell how many objectives its study has",
                             "write the list of directions in the file")  # fmt: skip
    directions = [getattr(each, "text", str(each)).rpartition(".")[2].lower() for each in several]
    draft.sections["objective"] = _objective(directions, _monitored(values), draft)
    function = _function(text, run, suggested)
    if not (door.model or door.train):
        door = Door(train=f"{Path(source.file).stem}:{function or 'objective'}")
        draft.note("the file was read and not run; it stays as it is, and its function is the objective")
    door.open(draft)
    draft.sections["space"] = _space(suggested, draft, door)
    _policies(values, "should_prune" in text or "PruningCallback" in text, draft, is_one=len(directions) == 1)
    trials, seconds = run.named.get("n_trials", *run.arguments[1:2] or [None]), run.named.get("timeout")
    if not isinstance(trials, int):
        trials = note_budget(draft, "n_trials", "Optuna continues without an end")
    draft.sections["budget"] = {"trials": trials}
    if isinstance(seconds, int | float):
        draft.sections["budget"]["wall_clock"] = f"{seconds:g}s"
    return draft


def _monitored(values: PythonValues) -> str:
    """Return the metric by which a Trainer's callback prunes; empty if there is none.

    The Trainer reports it at each validation. What the objective returns comes only at the end.
    """
    made = next((call for call in values.calls if call.name == _FOR_LIGHTNING), Call(""))
    given = made.named.get("monitor", *made.arguments[1:2] or [""])
    return given if isinstance(given, str) else ""


def _objective(directions: list[str], monitored: str, draft: Draft) -> dict[str, Any]:
    """Return the objective, by the names that `TrialSession.finish` gives to what is returned."""
    modes = [_MODES.get(direction, "min") for direction in directions]
    if unknown := [direction for direction in directions if direction not in _MODES]:
        draft.note(f"only running the file would tell whether {', '.join(unknown)} is to be minimized: check the mode")
    if len(modes) > 1:
        names = [f"values_{index}" for index in range(len(modes))]
        draft.note(f"what the objective returns is called {', '.join(names)}; the first alone ranks")
        first, *also = ({"metric": name, "mode": mode} for name, mode in zip(names, modes, strict=True))
        return {**first, "also": also}
    what = f"{_FOR_LIGHTNING} monitors {monitored}" if monitored else "what the objective returns is called value"
    draft.note(f"{what}; {directions[0]} became {modes[0]}")
    return {"metric": monitored or "value", "mode": modes[0]}


def _given(call: Call) -> dict[str, Any]:
    """Return the arguments of a call by name."""
    return dict(zip(_ORDERS[call.name], call.arguments, strict=False)) | dict(call.named)


def _space(suggested: list[Call], draft: Draft, door: Door) -> dict[str, Any]:
    """Return the domain of each name that is asked for, with the values of others under which it is."""
    domains: dict[str, Domain] = {}
    conditions: dict[str, list[dict[str, list[Any]]]] = {}
    for call in suggested:
        given = _given(call)
        name = given.pop("name", None)
        try:
            if not isinstance(name, str):
                raise ValueError("only running the file would tell its name; add it to the space by hand")
            domain = _domain(call.name, given)
        except (SpecError, ValueError, TypeError, KeyError) as error:
            reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
            draft.note(f"{call.text} is left out: {reason}", call.text)
            continue
        target = door.target(name)
        is_other = domains.setdefault(target, domain).to_yaml() != domain.to_yaml()
        other = "; another call asks for the same name otherwise" if is_other else ""
        conditions.setdefault(target, []).append(_when(call, door))
        draft.note(f"{call.text} became {target}{other}", call.text)
    made: dict[str, Any] = {}
    for target, cases in conditions.items():
        when = {parent: values for parent, values in _merged(cases).items() if _decide(domains.get(parent), values)}
        made[target] = domains[target].to_yaml() | ({"when": when} if when else {})
    return made


def _decide(domain: Domain | None, values: list[Any]) -> bool:
    """Return whether these are some of a domain's values, and not all: else the parameter has no condition."""
    return domain is not None and 0 < len(values) < (domain.size or 0) and all(map(domain.contains, values))


def _when(call: Call, door: Door) -> dict[str, list[Any]]:
    """Return the values of other parameters for which a suggestion is asked for."""
    when: dict[str, list[Any]] = {}
    for parent, values in call.when:
        name = _given(parent).get("name")
        if isinstance(name, str):
            held = when.get(door.target(name), list(values))
            when[door.target(name)] = [value for value in values if value in held]
    return when


def _merged(cases: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Return what must hold for one of several calls to be made, or less."""
    first, *others = cases
    for each in others:
        if each.keys() != first.keys() or len(first) != 1:
            return {}
        first = {name: [*values, *(v for v in each[name] if v not in values)] for name, values in first.items()}
    return first


def _domain(kind: str, given: dict[str, Any]) -> Domain:
    """Return the domain of a call's arguments. Raises ValueError or KeyError if the source does not tell them."""
    choices = given.get("choices", [])
    if any(
        isinstance(value, Call | Unknown)
        for value in [*given.values(), *(choices if isinstance(choices, list) else [])]
    ):
        raise ValueError("only running the file would tell its range")
    if kind == "suggest_categorical":
        return choice(list(choices))
    low, high, step, log = given["low"], given["high"], given.get("step", given.get("q")), given.get("log", False)
    if kind == "suggest_int":
        return (log_int if log else integer)(low, high, None if step == 1 else step)
    return (log_uniform if log or kind == "suggest_loguniform" else uniform)(float(low), float(high), step)


def _function(text: str, run: Call, suggested: list[Call]) -> str:
    """Return the name of the function that the study optimizes, else of that with the first suggestion."""
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    optimized = getattr([*run.arguments, run.named.get("func"), None][0], "text", "")
    if any(node.name == optimized for node in functions):
        return str(optimized)
    lines = [call.line for call in suggested]
    holders = (node.name for node in functions if any(node.lineno <= line <= (node.end_lineno or 0) for line in lines))
    return next(holders, "")


def _policies(values: PythonValues, prunes: bool, draft: Draft, *, is_one: bool) -> None:
    """Set searcher and scheduler as the study has them, or as Optuna does by default."""
    names = [call.name for call in values.calls]
    sampler = next((name for name in names if name.endswith("Sampler")), "")
    pruner = next((name for name in names if name.endswith("Pruner")), "")
    default = "tpe" if is_one else "nsga2"
    searcher = (_SEARCHERS if is_one else _SEARCHERS_OF_SEVERAL).get(sampler, default)
    if searcher:
        draft.sections["searcher"] = {"name": searcher}
    what = f"searcher {searcher}" if searcher else "the default searcher"
    draft.note(f"{sampler or f'no sampler is named, so {default}, and it'} became {what}")
    prunes = prunes and is_one
    scheduler = _SCHEDULERS.get(pruner, "median") if prunes else "fifo"
    draft.sections["scheduler"] = {"name": scheduler}
    why = (pruner or "no pruner is named, so the median, and it") if prunes else "an objective that never prunes"
    draft.note(f"{why} became scheduler {scheduler}")
