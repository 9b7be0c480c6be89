"""Resolve references in a sweep file: ``${data.batch_size}`` and ``${oc.env:NAME,default}``, as OmegaConf writes them.

A reference to a value of the file gets the trial's value. One to an attribute of a built object, as
``${data.num_classes}`` or ``${objects.dataset}``, stays until the objects are built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.yaml_document import Path, scalar

SECTIONS = ("objects", "data", "model", "optimizer", "lr_scheduler", "trainer")
"""The sections of a sweep file that hold references, and that these name."""

_ONE = r"(?<!\\)\$\{\s*([A-Za-z_][\w.]*(?::[^${}]*)?)\s*\}"
_REFERENCE = re.compile(_ONE)
_WHOLE = re.compile(_ONE)
_ENVIRONMENT = "oc.env:"
_BUILT = ("data", "objects")
_NESTED = re.compile(r"(?<!\\)\$\{[^{}]*\$\{")


@dataclass(frozen=True)
class Unresolved(Exception):
    """A reference to what the file does not hold."""

    name: str


def names_in(value: Any) -> Iterator[str]:
    """Yield the name in each reference of a value, at any depth."""
    for _, text in _texts(value):
        yield from _REFERENCE.findall(text)


def is_reference(value: Any) -> bool:
    """Return whether a value is text with a reference."""
    return isinstance(value, str) and "${" in value and _REFERENCE.search(value) is not None


def holds_references(value: Any) -> bool:
    """Return whether a value, or a part of it at any depth, is a reference."""
    return any(True for _ in names_in(value))


def replaced(value: Any, lookup: Callable[[str], Any]) -> Any:
    """Return a value with each reference replaced by ``lookup(name)``; one for which it raises `Unresolved` stays.

    Text that is one reference becomes the value that it names; within longer text, that value as text.
    """
    if isinstance(value, str):
        return _replaced_text(value, lookup) if "${" in value else value
    if isinstance(value, Mapping):
        return {key: replaced(item, lookup) for key, item in value.items()}
    return [replaced(item, lookup) for item in value] if isinstance(value, list) else value


def _replaced_text(text: str, lookup: Callable[[str], Any]) -> Any:
    if whole := _WHOLE.fullmatch(text):
        try:
            return lookup(whole[1])
        except Unresolved:
            return text

    def one(match: re.Match[str]) -> str:
        try:
            return str(lookup(match[1]))
        except Unresolved:
            return match[0]

    return _REFERENCE.sub(one, text)


def resolve_sections(sections: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the sections of one trial with references to their values resolved.

    Raises SpecError if a reference leads back to itself.
    """
    if not any(map(holds_references, sections.values())):
        return dict(sections)

    def lookup(name: str, under: tuple[str, ...] = ()) -> Any:
        if name in under:
            raise SpecError([Problem(f"${{{name}}} refers to itself, by {' → '.join(under)}", "write one of them out")])
        if name in ("seed", "seed_everything"):
            return seed
        value = _at(sections, name.split("."))
        return replaced(value, lambda other: lookup(other, (*under, name)))

    return {name: replaced(section, lookup) for name, section in sections.items()}


def _at(value: Any, segments: list[str]) -> Any:
    """Return the entry at ``segments``, with or without ``init_args``. Raises Unresolved if there is none."""
    name = ".".join(segments)
    if segments[0] == "objects":
        raise Unresolved(name)
    for segment in segments:
        if isinstance(value, list) and segment.isdecimal() and int(segment) < len(value):
            value = value[int(segment)]
            continue
        if not isinstance(value, Mapping):
            raise Unresolved(name)
        for holder in (value, value.get("init_args"), value.get("dict_kwargs")):
            if isinstance(holder, Mapping) and segment in holder:
                value = holder[segment]
                break
        else:
            raise Unresolved(name)
    return value


def with_environment(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return a file's values with ``${oc.env:NAME}`` resolved, and the problems of every reference in them."""
    problems: list[Problem] = []
    values = dict(data)
    for name in SECTIONS:
        if name in values and "${" in str(values[name]):
            values[name] = _environment(values[name])
            problems += _problems(values, name)
    return values, problems


def _environment(value: Any) -> Any:
    def lookup(name: str) -> Any:
        if not name.startswith(_ENVIRONMENT):
            raise Unresolved(name)
        variable, comma, default = name.removeprefix(_ENVIRONMENT).partition(",")
        text = os.environ.get(variable.strip(), default.strip() if comma else None)
        if text is None:
            raise Unresolved(name)
        return scalar(text.strip("'\"")) if variable.strip() not in os.environ else scalar(text)

    return replaced(value, lookup)


def _problems(values: Mapping[str, Any], section: str) -> Iterator[Problem]:
    literal = "; for the text itself, write \\${…}"
    for path, text in _texts(values[section], (section,)):
        if _NESTED.search(text):
            yield Problem(f"{text!r}: a reference inside a reference is not read", f"write the name out{literal}", path)
            continue
        for name in _REFERENCE.findall(text):
            root = name.split(".")[0]
            if name.startswith(_ENVIRONMENT):
                variable = name.removeprefix(_ENVIRONMENT)
                hint = f"set it, or give a default: ${{oc.env:{variable},…}}"
                yield Problem(f"the environment has no variable {variable!r}", hint, path)
            elif ":" in name:
                yield Problem(f"the resolver in ${{{name}}} is not known here", f"${{oc.env:…}} is{literal}", path)
            elif name not in ("seed", "seed_everything") and root not in SECTIONS:
                hint = f"a reference starts with {', '.join(SECTIONS)}{literal}"
                yield Problem(f"${{{name}}} names nothing in this file", hint, path)
            elif root in SECTIONS and not _known(values, name):
                yield Problem(f"${{{name}}} names nothing in this file", _absent_hint(name), path)


def _absent_hint(name: str) -> str:
    root, _, rest = name.partition(".")
    if root == "objects":
        return f"add it under objects: {{{rest.partition('.')[0]}: …}}"
    return f"write {rest} out in the section {root}, or leave the reference out"


def _known(values: Mapping[str, Any], name: str) -> bool:
    root, *rest = name.split(".")
    if root == "objects":
        return bool(rest) and rest[0] in (values.get("objects") or {})
    if root == "data" and rest:
        return values.get("data") is not None  # it may be an attribute of the built object
    section = values.get(root)
    try:
        _at({root: {"class_path": section} if isinstance(section, str) else section}, [root, *rest])
    except Unresolved:
        swept = values.get("space") or {}
        return name in (key.replace(".init_args", "") for key in swept)
    return True


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if "${" in value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def needs(value: Any) -> set[str]:
    """Return which of ``data`` and ``objects`` must be built before the references in ``value`` can be resolved."""
    return {name.split(".")[0] for name in names_in(value)} & set(_BUILT)
