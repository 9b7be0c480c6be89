"""Translate pydantic's errors about a sweep file into problems with positions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from orchestrator.codec import key_path
from orchestrator.errors import Problem, SpecError
from orchestrator.space import KeyProblem, Space
from orchestrator.space.search_space import parse
from orchestrator.spec.parameters import ROOTS, parameter_problems
from orchestrator.spec.parts import ClassSpec, NoPlainFormError, Part
from orchestrator.spec.plugin_sections import PluginSection
from orchestrator.spec.policy_options import PolicyOptions, options_class
from orchestrator.spec.sweep_spec import SweepSpec, plain_domains
from orchestrator.spec.training_code import names_code
from orchestrator.spec.yaml_document import Path

_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "list": "a list",
}
_BOUNDS = {
    "greater_than_equal": (">=", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("<=", "le"),
    "less_than": ("<", "lt"),
}
_LIGHTNING_CLI = ("fit", "validate", "test", "predict", "ckpt_path")
_WANDB = ("method", "parameters", "metric", "early_terminate", "run_cap")
_OTHER_TOOLS_KEYS = (*_LIGHTNING_CLI, *_WANDB)


def validated(content: object) -> tuple[SweepSpec | None, list[Problem]]:
    """Return the spec, or None and every problem; a problem's path starts at the top of the file."""
    if not isinstance(content, Mapping):
        message = "the file is empty" if content is None else f"a sweep is a mapping, but this is {_kind(content)}"
        return None, [Problem(message, "start with model: and objective:; `sweep schema` describes the rest")]
    space, problems = _space_problems(content)
    callbacks, callback_problems = _callback_problems(content.get("trainer"))
    problems += callback_problems
    sections = {**content, "space": space}
    searcher = content.get("searcher")
    if problems and isinstance(searcher, Mapping):  # without the space its points cannot be checked
        sections["searcher"] = {key: value for key, value in searcher.items() if key != "try_first"}
    if callback_problems:
        sections["trainer"] = {**content["trainer"], "callbacks": callbacks}
    try:
        spec = SweepSpec.model_validate(sections)
    except ValidationError as error:
        problems += _translated(error)
    except SpecError as error:
        problems += error.problems
    else:
        return (None if problems else spec), problems
    return None, problems


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "text" if isinstance(value, str) else f"a {type(value).__name__}"


def _space_problems(content: Mapping[str, Any]) -> tuple[Space, list[Problem]]:
    """Return the space, or an empty one and the problems."""
    try:
        domains, problems = parse(plain_domains(content.get("space")))
    except SpecError as error:
        return Space(), _inside(("space",), error.problems)
    if not problems:
        return Space(domains), []
    sections = {name for name in ROOTS if content.get(name)}
    names = [] if names_code(content) else list(parameter_problems(content["space"], sections))
    return Space(), _inside(("space",), problems) + list(names)


def _callback_problems(trainer: object) -> tuple[list[Any], list[Problem]]:
    """Return the well-formed callbacks, and the problems of the others."""
    callbacks = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
    good, problems = [], []
    for index, callback in enumerate(callbacks if isinstance(callbacks, list | tuple) else []):
        try:
            good.append(ClassSpec.model_validate(callback).model_dump())
        except ValidationError as error:
            problems += _translated(error, start=ClassSpec, above=("trainer", "callbacks", index))
    return good, problems


def _inside(above: Path, problems: Any) -> list[Problem]:
    return [replace(p, path=(*above, *p.path)) for p in problems]


def _translated(error: ValidationError, *, start: type[Part] = SweepSpec, above: Path = ()) -> list[Problem]:
    errors = [(item, *_place(item["loc"], start)) for item in error.errors(include_url=False)]
    missing = {path for item, path, _ in errors if item["type"] == "missing"}
    misspelt = {path: near for item, path, _ in errors if (near := _misspelling_of(item, path, missing))}
    problems = []
    for item, path, owner in errors:
        if path in misspelt.values():
            continue  # reported once, at the misspelt key
        message, hint = _words(item, path, owner, above)
        hint = f"did you mean {misspelt[path][-1]}?" if path in misspelt else hint
        kind = KeyProblem if item["type"] == "extra_forbidden" else Problem
        problems.append(kind(message, hint, (*above, *path)))
    return problems


def _misspelling_of(item: Any, path: Path, missing: set[Path]) -> Path | None:
    """Return the missing key that an unknown key in the same mapping was probably meant to be."""
    if item["type"] != "extra_forbidden" or path[-1] in _OTHER_TOOLS_KEYS:
        return None
    siblings = {str(other[-1]): other for other in missing if other[:-1] == path[:-1]}
    close = get_close_matches(str(path[-1]), list(siblings), n=1, cutoff=0.5)
    return siblings[close[0]] if close else None


def _place(loc: tuple[int | str, ...], start: type[Part]) -> tuple[Path, type[Part]]:
    """Return the path in the file (without pydantic's tags), and the part that contains the last key."""
    owner, path, inside = start, [], list(loc)
    while inside:
        name = inside.pop(0)
        path.append(name)
        field = owner.model_fields.get(str(name))
        plugin = owner.options_of(str(name)) if issubclass(owner, PluginSection) and not field and inside else None
        parts = list(_parts_in(field.annotation if field else plugin)) if inside else []
        if parts and issubclass(parts[0], PolicyOptions):
            parts = [options_class(parts[0].kind, str(inside.pop(0)))]
        elif len(parts) > 1:
            tag = inside.pop(0)
            parts = [part for part in parts if part.model_fields["name"].default == tag]
        if parts and inside:
            owner = parts[0]
        else:
            return (*path, *inside), owner
    return tuple(path), owner


def _parts_in(annotation: Any) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for argument in get_args(annotation):
        yield from _parts_in(argument)


def _words(error: Any, path: Path, owner: type[Part], above: Path = ()) -> tuple[str, str]:
    """Return a message and a hint for one of pydantic's errors."""
    kind, value = error["type"], error["input"]
    name = next((key for key in reversed(path) if isinstance(key, str)), "sweep")
    hint = _example(owner, name)
    if kind == "missing":
        return f"`{name}` is missing", hint
    if kind == "extra_forbidden":
        return f"unknown key {name!r}{_where(path[:-1])}", _unknown_hint(name, path, owner)
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return f"`{name} {sign} {error['ctx'][bound]}` must hold, but got {value!r}", hint
    if kind in ("literal_error", "union_tag_invalid"):
        return _choice_words(error, name, value)
    if kind == "union_tag_not_found":
        return f"`{name}` must say which: its `name` is missing", hint
    if kind == "value_error":
        return _value_words(error["ctx"]["error"], (*above, *path), hint)
    if kind == "string_too_short":
        return f"`{name}` must not be empty", hint
    expected = _EXPECTED.get(kind.removesuffix("_type"))
    if path in (("model",), ("data",)):
        expected = "an import path, or a mapping with class_path"
    if expected is None:
        return f"{_dotted(path)}: {error['msg']}, but got {value!r}", hint
    return f"`{name}` must be {expected}, but got {value!r} ({type(value).__name__})", hint


def _value_words(error: ValueError, path: Path, hint: str) -> tuple[str, str]:
    """Return a message that begins with the key path of the wrong value, and a hint."""
    if not isinstance(error, NoPlainFormError):
        return f"{_dotted(path)}: {error}", hint
    place, inside = key_path(path), error.error.at
    place += inside if inside.startswith("[") or not inside else f".{inside}"
    return f"{place}: {error.error.reason}", error.error.hint or hint


def _choice_words(error: Any, name: str, value: Any) -> tuple[str, str]:
    """Return a message and a hint for a value that is not among the allowed words."""
    tag = error["type"] == "union_tag_invalid"
    choice = error["ctx"]["tag"] if tag else value
    allowed = [word.strip("'\" ") for word in _allowed(error["ctx"]["expected_tags" if tag else "expected"])]
    close = get_close_matches(str(choice), allowed, n=1)
    hint = f"did you mean {close[0]}?" if close else f"e.g. {name}: {allowed[0]}"
    return f"`{name}` must be one of {', '.join(allowed)}, but got {choice!r}", hint


def _allowed(listed: str) -> list[str]:
    return listed.replace(" or ", ", ").split(", ")


def _dotted(path: Path) -> str:
    return ".".join(map(str, path)) or "sweep"


def _where(path: Path) -> str:
    return f" in {_dotted(path)}" if path else ""


def _example(owner: type[Part], name: str) -> str:
    """Return a hint that shows the field's own example."""
    field = owner.model_fields.get(name)
    examples = field.examples if field else owner.examples_of(name) if issubclass(owner, PluginSection) else None
    return f"e.g. {name}: {_flow(examples[0])}" if examples else f"`sweep schema` describes {name}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _unknown_hint(name: str, path: Path, owner: type[Part]) -> str:
    keys = owner.known_keys() if issubclass(owner, PluginSection) else list(owner.model_fields)
    listed = [key for key in keys if not (key == "name" and len(path) > 1 and path[0] != "tracking")]
    close = get_close_matches(name, keys, n=1)
    from_other_tool = owner is SweepSpec and name in _OTHER_TOOLS_KEYS
    if close and not from_other_tool:
        return f"did you mean {close[0]}?"
    if owner is ClassSpec:
        return f"arguments of the class go under init_args: {_dotted((*path[:-1], 'init_args', name))}"
    if from_other_tool:
        return "`sweep import` makes a sweep file from a LightningCLI config or a W&B sweep file"
    return f"known here: {', '.join(listed)}" if listed else "it takes no options; leave this out"
