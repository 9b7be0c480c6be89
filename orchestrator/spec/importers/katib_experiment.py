"""Translate a Katib experiment of Kubeflow."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, integer, log_int, log_normal, log_uniform, normal, uniform
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.words import MODES, known
from orchestrator.spec.yaml_document import Path

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
_SHELL = ("&&", "||", ";", "|", ">", ">>", "2>&1")
_REFERENCE = re.compile(r"\$\{trialParameters\.(\w+)\}")


def translate(source: ForeignFile, door: Door) -> Draft:
    """Return the draft of the same search, by default of the script that its trials run."""
    draft = Draft(source)
    spec = source.data.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("parameters"), list):
        raise source.refusal("a Katib experiment has spec.parameters", "is the file complete?", ("spec",))
    metadata = source.data.get("metadata") or {}
    draft.name(metadata.get("name") or metadata.get("generateName"))
    for word in ("name", "generateName"):
        draft.take("metadata", word)
    for path in (("apiVersion",), ("kind",)):
        draft.note(f"{path[0]}: {source.data.get(path[0])} says that it is a Katib experiment", *path)
    target = _objective(spec.get("objective"), draft)
    container = {} if door.model else _script(spec, draft)
    if door.train or not container:
        door.open(draft)
    else:
        draft.sections |= {name: container[name] for name in ("program", "command") if name in container}
    flags = container.get("flags", {})
    if flags:
        draft.take("spec", "trialTemplate", "trialParameters")
    draft.sections["space"] = _space(spec["parameters"], draft, flags, door)
    _search(spec, draft)
    if "model" in draft.sections:
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


def _script(spec: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Return ``program`` and ``command`` of the trial's container, and ``flags`` by parameter; empty without any."""
    template = spec.get("trialTemplate") or {}
    words, places = next(_commands(template, ("spec", "trialTemplate")), ([], []))
    start = next((at for at, word in enumerate(words) if PurePosixPath(word).suffix == ".py"), len(words))
    if "-m" in words[:start]:
        start = words.index("-m") + 1
    references = {
        each.get("name"): each.get("reference")
        for each in template.get("trialParameters") or []
        if isinstance(each, dict)
    }
    flags: dict[str, str] = {}
    fixed: list[str] = []
    rest = words[start + 1 :]
    for word in rest[: next((at for at, word in enumerate(rest) if word in _SHELL), None)]:
        if found := _REFERENCE.search(word):
            flag = word.partition("=")[0] if "=" in word else (fixed.pop() if fixed else found[1])
            flags[str(references.get(found[1], found[1]))] = flag.lstrip("-")
        else:
            fixed.append(word)
    if not flags:
        return {}
    draft.note(f"the container's command is {' '.join(words)}; paths in it are the container's")
    for place in places:
        draft.take(*place)
    if words[start - 1 : start] == ["-m"]:
        return {"command": ["${env}", "${interpreter}", "-m", words[start], *fixed, "${args}"], "flags": flags}
    command = ["${env}", "${interpreter}", "${program}", *fixed, "${args}"]
    return {"program": words[start], "command": command, "flags": flags}


def _commands(value: Any, path: Path) -> Iterator[tuple[list[str], list[Path]]]:
    """Yield the command of each container, with its arguments, and where they are written."""
    if isinstance(value, dict) and isinstance(value.get("command"), list):
        words = [str(word) for word in [*value["command"], *(value.get("args") or [])]]
        yield _in_shell(words), [(*path, "command"), (*path, "args")]
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in parts:
        yield from _commands(item, (*path, key))


def _in_shell(words: list[str]) -> list[str]:
    """Return the words of ``sh -c "python train.py …"``; others as they are."""
    if len(words) > 2 and PurePosixPath(words[0]).name in ("sh", "bash") and words[1].endswith("c"):
        try:
            return shlex.split(words[2])
        except ValueError:
            return words
    return words


def _space(parameters: list[Any], draft: Draft, flags: dict[str, str], door: Door) -> dict[str, Any]:
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
        own = name.lstrip("-")
        target = flags.get(name) or (own if flags else door.target(own if door.train else _identifier(name)))
        if flags and name not in flags:
            draft.note(f"no trialParameters refers to {name}, so that Katib's trials do not get it; here they do")
        space[target] = domain.to_yaml()
        draft.note(f"spec.parameters.{index}: {parameter} became {target}", *path)
    return space


def _domain(parameter: dict[str, Any], path: tuple[str | int, ...], draft: Draft) -> Domain:
    kind = known(draft.source, parameter.get("parameterType"), _TYPES, "parameterType", (*path, "parameterType"))
    feasible = parameter.get("feasibleSpace") or {}
    if kind in ("categorical", "discrete"):
        values = list(dict.fromkeys(feasible.get("list") or []))
        return choice([_number(value) for value in values] if kind == "discrete" else values)
    if any(feasible.get(end) is None for end in ("min", "max")):
        raise ValueError(f"{'an' if kind == 'int' else 'a'} {kind} needs `min` and `max`")
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


def _identifier(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


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
