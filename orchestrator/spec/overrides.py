"""Override fields of a sweep file from the command line: ``--set budget.trials=4``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.space import Domain, Value
from orchestrator.spec.parts import Part
from orchestrator.spec.yaml_document import DEPTH_LIMIT, Document, Path, brief, extent, read

_BARE = {"model": "class_path", "data": "class_path", "searcher": "name", "scheduler": "name"}


def override(document: Document, texts: Sequence[str]) -> tuple[Document, list[Problem]]:
    """Return the document with each ``key=value`` applied, the later of two winning, and the problems."""
    data = _copied(document.data)
    changed = Document(document.file, data, dict(document.keys), dict(document.values), dict(document.overridden))
    problems: list[Problem] = []
    for text in texts:
        try:
            path, value = _parsed(text)
            set_field(changed, path, value, source=brief(f"--set {text}"))
        except SpecError as error:
            problems += [Problem(p.message, p.hint, p.path, brief(f"--set {text}")) for p in error.problems]
    return changed, problems


def _copied(value: Any) -> Any:
    """Return a copy of mappings, lists, domains and options; other objects are the user's, whose code must not run."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return copy.deepcopy(value) if isinstance(value, Domain | Part) else value


def _refused(message: str, hint: str) -> SpecError:
    return SpecError([Problem(message, hint)])


def _parsed(text: str) -> tuple[Path, Value]:
    key, equals, value = text.partition("=")
    if not equals:
        raise _refused("expected key=value", "e.g. --set budget.trials=4")
    path = field_path(key.strip())
    if not all(path):
        raise _refused(f"{key!r} names no field", "e.g. --set trainer.max_epochs=2")
    if key.encode("utf-8", "replace") + value.encode("utf-8", "replace") != (key + value).encode("utf-8", "ignore"):
        raise _refused("the text is not UTF-8", "set the terminal to UTF-8")
    document, duplicates = read(value.encode(), "")
    if duplicates:
        raise SpecError(duplicates)
    if len(path) + extent(document.data)[1] > DEPTH_LIMIT:
        raise _refused(f"nested deeper than {DEPTH_LIMIT} levels", "a sweep file has no use for that")
    return path, document.data


def field_path(key: str) -> tuple[str, ...]:
    """Return the field's path; below ``space.`` the rest is one parameter's name, dots included."""
    root, dot, rest = key.partition(".")
    return ("space", rest) if root == "space" and dot else tuple(key.split("."))


def set_field(document: Document, path: Path, value: Value, *, source: str) -> None:
    """Write ``value`` at ``path``; problems there name ``source`` instead of a position. Raises SpecError."""
    if not isinstance(document.data, dict):
        raise _refused("the file holds no mapping to set it in", "start with model: and objective:")
    target: Any = document.data
    for depth, segment in enumerate(path[:-1], start=1):
        target = _child(target, segment, path[:depth], document, source)
    _forget(document, path)
    document.overridden[_indexed(path)] = source
    target[_index(target, path[-1], path[:-1])] = value


def _child(target: Any, segment: str | int, path: Path, document: Document, source: str) -> Any:
    """Return the mapping or list at ``path``; create it if there is none."""
    key = _index(target, segment, path[:-1])
    child = target[key] if isinstance(target, list) else target.get(key)
    if child is None:
        child = {}
        document.overridden.setdefault(path, source)
    elif isinstance(child, str) and path[0] in _BARE:  # `model: a.B` stands for `model: {class_path: a.B}`
        named = len(path) == 1 and not (path[0] == "searcher" and "." in child)
        child = {_BARE[path[0]] if named else "class_path": child}
    elif child == "auto" and path == ("resources",):  # the default, written out
        child = {}
    elif not isinstance(child, dict | list):
        raise _refused(f"{'.'.join(map(str, path))} is {child!r} and holds no fields", "set it as a whole")
    target[key] = child
    return child


def _index(target: Any, segment: str | int, path: Path) -> Any:
    if not isinstance(target, list):
        return segment
    if not _is_position(segment) or int(segment) >= len(target):
        where = ".".join(map(str, path))
        raise _refused(f"{where} is a list of {len(target)}, but got {segment!r}", "positions in a list count from 0")
    return int(segment)


def _indexed(path: Path) -> Path:
    return tuple(int(part) if _is_position(part) else part for part in path)


def _is_position(segment: str | int) -> bool:
    return str(segment).isdecimal() and len(str(segment)) < 10


def _forget(document: Document, path: Path) -> None:
    """Remove the file's positions at and below ``path``."""
    for marks in (document.keys, document.values, document.overridden):
        for stale in [marked for marked in marks if marked[: len(path)] == _indexed(path)]:
            del marks[stale]
