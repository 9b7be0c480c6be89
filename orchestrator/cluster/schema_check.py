"""A cluster file against the JSON schema that Ray's own launcher holds it to."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, UsageError
from orchestrator.space import KeyProblem

_WHOLE = "`sweep cluster init aws` writes a file that has everything"
_NAMES = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}


def shape_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Whatever Ray's schema says against ``data``, each with the path to it."""
    from jsonschema import Draft7Validator

    written = dict(data)
    if _provider(data) == "local":
        # `ray up` takes this key out before it checks, for hosts of one's own alone
        workers = written.pop("min_workers", 0)
        if isinstance(workers, bool) or not isinstance(workers, int):
            yield Problem(f"`min_workers` must be an integer, but got {workers!r}", "e.g. 2", ("min_workers",))
    for error in Draft7Validator(_schema()).iter_errors(written):
        yield from _translated(error)


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    """The schema as the installed Ray has it, found without importing Ray."""
    found = importlib.util.find_spec("ray")
    folder = Path(found.origin).parent if found and found.origin else None
    file = folder / "autoscaler" / "ray-schema.json" if folder else None
    if file is None or not file.is_file():
        raise UsageError("Ray's cluster launcher is not installed here", hint="pip install 'ray[default]'")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _provider(data: Mapping[str, Any]) -> object:
    provider = data.get("provider")
    return provider.get("type") if isinstance(provider, Mapping) else None


def _translated(error: Any) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    name = next((part for part in reversed(path) if isinstance(part, str)), "the file")
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
                yield KeyProblem(f"unknown key {key!r}", hint, (*path, key))
    elif error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        for key in missing:
            yield Problem(f"`{key}` is missing{f' in {name}' if path else ''}", _described(error, key), path)
    elif error.validator == "type":
        wanted = error.validator_value
        kinds = " or ".join(_NAMES[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
        value = error.instance
        yield Problem(f"`{name}` must be {kinds}, but got {value!r} ({type(value).__name__})", _hint(error), path)
    else:
        yield Problem(f"`{name}`: {error.message}", _hint(error), path)


def _described(error: Any, key: str) -> str:
    text = error.schema.get("properties", {}).get(key, {}).get("description", "")
    return str(text).strip() or _WHOLE


def _hint(error: Any) -> str:
    return str(error.schema.get("description", "")).strip() or _WHOLE
