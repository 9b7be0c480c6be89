"""Load and check a cluster file: YAML, Ray's schema, then this project's rules. Every problem has its position."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.rules import open_items, rule_problems
from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.space import KeyProblem
from orchestrator.spec.yaml_document import SIZE_LIMIT, Document, read, readable

DEFAULT = "cluster.yaml"
_EXAMPLE_HINT = "`sweep cluster init aws` writes a complete file"
_TYPE_NAMES = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}


def load(source: str | Path = DEFAULT) -> ClusterFile:
    """Return the cluster file at ``source``, checked. Raises SpecError with every problem and its position."""
    path = Path(source)
    document, problems = read(_content(path), str(source))
    data = document.data
    if not isinstance(data, dict):
        problem = Problem("a cluster file is a mapping", "sweep cluster init aws writes one")
        raise SpecError(_located([problem], document))
    file = ClusterFile(path.absolute(), data)
    problems += _located(_schema_problems(data), document)
    if not problems:  # the rules rely on the types of Ray's schema
        problems += _located(rule_problems(file), document)
    if problems:
        raise SpecError(readable(problems))
    return replace(file, open_items=tuple(readable(_located(open_items(file), document))))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        hint = "specify another file, or write one: sweep cluster init aws|gcp|local"
        raise SpecError([Problem(f"cannot be read: {error.strerror}", hint, file=str(path))]) from None


def _located(problems: Iterable[Problem], document: Document) -> list[Problem]:
    return [
        replace(problem, **document.locate(problem.path, key=isinstance(problem, KeyProblem))) for problem in problems
    ]


def _schema_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield every violation of the schema of Ray's launcher, with its path."""
    from jsonschema import Draft7Validator

    checked = dict(data)
    provider = data.get("provider")
    if isinstance(provider, Mapping) and provider.get("type") == "local":
        # `ray up` removes this key before its own check if the provider is local.
        workers = checked.pop("min_workers", 0)
        if isinstance(workers, bool) or not isinstance(workers, int):
            yield Problem(f"`min_workers` must be an integer, but got {workers!r}", "e.g. 2", ("min_workers",))
    for error in Draft7Validator(_ray_schema()).iter_errors(checked):
        yield from _translated(error)


@lru_cache(maxsize=1)
def _ray_schema() -> dict[str, Any]:
    """Return the schema of the installed Ray, located without importing Ray."""
    spec = importlib.util.find_spec("ray")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    file = folder / "autoscaler" / "ray-schema.json" if folder else None
    if file is None or not file.is_file():
        raise UsageError("Ray's cluster launcher is not installed", hint="pip install 'ray[default]'")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _translated(error: Any) -> Iterator[Problem]:
    """Yield a violation of the schema as problems in our words."""
    path = tuple(error.absolute_path)
    name = next((part for part in reversed(path) if isinstance(part, str)), "the file")
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in allowed:
                close = get_close_matches(key, allowed, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(allowed)}"
                yield KeyProblem(f"unknown key {key!r}", hint, (*path, key))
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                hint = _hint(error.schema.get("properties", {}).get(key, {}))
                yield Problem(f"`{key}` is missing{f' in {name}' if path else ''}", hint, path)
    elif error.validator == "type":
        types = error.validator_value
        expected = " or ".join(_TYPE_NAMES[kind] for kind in ([types] if isinstance(types, str) else types))
        value = error.instance
        message = f"`{name}` must be {expected}, but got {value!r} ({type(value).__name__})"
        yield Problem(message, _hint(error.schema), path)
    else:
        yield Problem(f"`{name}`: {error.message}", _hint(error.schema), path)


def _hint(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", "")).strip() or _EXAMPLE_HINT
