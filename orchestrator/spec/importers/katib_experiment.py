"""Translate a Katib experiment of Kubeflow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, integer, log_int, log_normal, log_uniform, normal, uniform
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import Draft, class_door
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.parameter_names import target_name
from orchestrator.spec.importers.words import MODES, known

_SEARCHERS = {
    "random": "random",
    "grid": "grid",
    "tpe": "tpe",
    "multivariate-tpe": "tpe",
    "bayesianoptimization": "gp",
    "cmaes": "cmaes",
    "sobol": "sobol",
    "hyperband": "",
    "pbt": "",
}
_TYPES = ("double", "int", "categorical", "discrete")
_DISTRIBUTIONS = ("uniform", "logUniform", "normal", "logNormal")
_REFERENCE = re.compile(r"\$\{trialParameters\.(\w+)\}")


def translate(source: ForeignFile, model: str | None, data: str | None) -> Draft:
    """Return the draft of the same search; without ``model``, of the script that its trials run."""
    draft = Draft(source)
    spec = source.data.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("parameters"), list):
        raise source.refusal("a Katib experiment has spec.parameters", "is the file complete?", ("spec",))
    draft.name((source.data.get("metadata") or {}).get("name"))
    draft.take("metadata", "name")
    for path in (("apiVersion",), ("kind",)):
        draft.note(f"{path[0]}: {source.data.get(path[0])} says that it is a Katib experiment", *path)
    target = _objective(spec.get("objective"), draft)
    flags = {} if model else _script(spec, draft)
    if flags:
        draft.take("spec", "trialTemplate", "trialParameters")
    else:
        class_door(draft, model, data)
    draft.sections["space"] = _space(spec["parameters"], draft, flags, has_data=data is not None)
    _search(spec, draft)
    if not flags:
        set_training_length(draft, {})
    _budget(spec, target, draft)
    return draft


def _objective(objective: Any, draft: Draft) -> float | None:
    """Set the section ``objective``; return the value that ends the sweep, if there is one."""
    if not isinstance(objective, dict):
        draft.note("the experiment names no objective: it is val_loss, min")
        draft.sections["objective"] = {"metric": "val_loss", "mode": "min"}
        return None
    goal = known(draft.source, objective.get("type"), list(MODES), "type of objective", ("spec", "objective", "type"))
    name = str(objective.get("objectiveMetricName") or "val_loss")
    draft.sections["objective"] = {"metric": name, "mode": MODES[goal]}
    for word in ("type", "objectiveMetricName"):
        draft.take("spec", "objective", word)
    if objective.get("goal") is None:
        return None
    draft.take("spec", "objective", "goal")
    return float(objective["goal"])


def _script(spec: dict[str, Any], draft: Draft) -> dict[str, str]:
    """Set ``program`` and ``command`` from the trial's container; return the flag of each parameter."""
    template = spec.get("trialTemplate") or {}
    words = next(_commands(template), [])
    program = next((word for word in words if PurePosixPath(word).suffix == ".py"), "")
    references = {
        each.get("name"): each.get("reference")
        for each in template.get("trialParameters") or []
        if isinstance(each, dict)
    }
    if not program:
        return {}
    flags: dict[str, str] = {}
    fixed: list[str] = []
    for word in words[words.index(program) + 1 :]:
        if found := _REFERENCE.search(word):
            flag = word.partition("=")[0] if "=" in word else (fixed.pop() if fixed else found[1])
            flags[str(references.get(found[1], found[1]))] = flag.lstrip("-").replace("-", "_")
        else:
            fixed.append(word)
    draft.sections["program"] = program
    draft.sections["command"] = ["${env}", "${interpreter}", "${program}", *fixed, "${args}"]
    draft.note(f"program and command are those of the container: {' '.join(words)}; paths are the container's")
    return flags


def _commands(value: Any) -> Iterator[list[str]]:
    """Yield the command, with its arguments, of each container."""
    if isinstance(value, dict):
        if isinstance(value.get("command"), list):
            yield [str(word) for word in [*value["command"], *(value.get("args") or [])]]
        for item in value.values():
            yield from _commands(item)
    elif isinstance(value, list):
        for item in value:
            yield from _commands(item)


def _space(parameters: list[Any], draft: Draft, flags: dict[str, str], *, has_data: bool) -> dict[str, Any]:
    space: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        path = ("spec", "parameters", index)
        if not isinstance(parameter, dict) or not parameter.get("name"):
            raise draft.source.refusal("a parameter has a name", "name: lr, parameterType: double, …", path)
        name = str(parameter["name"])
        try:
            domain = _domain(parameter, path, draft)
        except (SpecError, ValueError, TypeError) as error:
            if isinstance(error, SpecError) and error.problems[0].file:
                raise
            reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
            draft.note(f"{name}: {parameter} is left out: {reason}", *path)
            continue
        target = flags.get(name, name) if flags else target_name(name.lstrip("-").replace("-", "_"), has_data=has_data)
        space[target] = domain.to_yaml()
        draft.note(f"spec.parameters.{index}: {parameter} became {target}", *path)
    return space


def _domain(parameter: dict[str, Any], path: tuple[str | int, ...], draft: Draft) -> Domain:
    kind = known(draft.source, parameter.get("parameterType"), _TYPES, "parameterType", (*path, "parameterType"))
    feasible = parameter.get("feasibleSpace") or {}
    if kind in ("categorical", "discrete"):
        values = list(dict.fromkeys(feasible.get("list") or []))
        return choice([_number(value) for value in values] if kind == "discrete" else values)
    low, high = (_number(feasible.get(end)) for end in ("min", "max"))
    word = feasible.get("distribution") or "uniform"
    spread = known(draft.source, word, _DISTRIBUTIONS, "distribution", (*path, "feasibleSpace", "distribution"))
    step = _number(feasible["step"]) if feasible.get("step") is not None else None
    if spread in ("normal", "logNormal"):
        if spread == "logNormal":
            low, high = math.log(low), math.log(high)
        middle, width = (low + high) / 2, (high - low) / 6
        draft.note(
            f"{parameter['name']}: {spread} from {low} to {high} has its mean in the middle, 3 deviations a side"
        )
        return (normal if spread == "normal" else log_normal)(middle, width)
    if kind == "int":
        make = log_int if spread == "logUniform" else integer
        return make(int(low), int(high), int(step) if step else None)
    return (log_uniform if spread == "logUniform" else uniform)(float(low), float(high), step)


def _number(text: Any) -> Any:
    try:
        return int(str(text))
    except ValueError:
        return float(str(text))


def _search(spec: dict[str, Any], draft: Draft) -> None:
    algorithm = spec.get("algorithm") or {}
    if word := algorithm.get("algorithmName"):
        path = ("spec", "algorithm", "algorithmName")
        known(draft.source, word, list(_SEARCHERS), "algorithm that can be translated", path)
        draft.note(f"algorithm {word} became {_SEARCHERS[word] or 'the default search'}", *path)
        if _SEARCHERS[word]:
            draft.sections["searcher"] = {"name": _SEARCHERS[word]}
    stopping = (spec.get("earlyStopping") or {}).get("algorithmName")
    if stopping:
        path = ("spec", "earlyStopping", "algorithmName")
        known(draft.source, stopping, ["medianstop"], "early stopping of Katib", path)
        draft.note("earlyStopping medianstop became scheduler median", *path)
        draft.sections["scheduler"] = {"name": "median"}
    else:
        draft.note("no earlyStopping: the default scheduler stops trials early; `scheduler: fifo` trains all in full")


def _budget(spec: dict[str, Any], target: float | None, draft: Draft) -> None:
    budget: dict[str, Any] = {} if target is None else {"target": target}
    if spec.get("maxTrialCount") is not None:
        budget["trials"] = int(spec["maxTrialCount"])
        draft.take("spec", "maxTrialCount")
    else:
        budget["trials"] = note_budget(draft, "spec.maxTrialCount", "Katib goes on until the goal")
    draft.sections["budget"] = budget
    if spec.get("parallelTrialCount") is not None:
        draft.sections["resources"] = {"concurrent": int(spec["parallelTrialCount"])}
        draft.take("spec", "parallelTrialCount")
