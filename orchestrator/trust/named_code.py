"""List the code that the sweep of a run names: import paths, and commands of notifications."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SECTIONS = ("model", "data", "args", "trainer", "space", "searcher", "scheduler", "lineage")


def named_code(spec: Mapping[str, Any], params: Iterable[Any] = ()) -> list[str]:
    """Return every import path in a spec and in the parameters of trials, and every command under ``notify``.

    Text that has the form of an import path counts, since an argument may take a class by its path alone.
    """
    found = {text for section in _SECTIONS for text in _import_paths(spec.get(section))}
    found.update(text for values in params for text in _import_paths(values))
    found.update(f"{name} {spec[name]!r}" for name in ("train", "program", "command") if spec.get(name))
    found.update(f"command {command!r}" for command in _commands(spec.get("notify")))
    return sorted(found)


def _import_paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _IMPORT_PATH.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _import_paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _import_paths(item)


def _commands(targets: Any) -> Iterator[Any]:
    for target in targets if isinstance(targets, list | tuple) else ():
        if isinstance(target, Mapping) and target.get("command"):
            yield target["command"]
