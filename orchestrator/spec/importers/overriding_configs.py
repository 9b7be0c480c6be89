"""Merge several LightningCLI configs as ``main.py fit --config a.yaml --config b.yaml`` does: later ones override."""

from __future__ import annotations

import copy
from pathlib import Path as FilePath
from typing import Any

from orchestrator.codec import key_path
from orchestrator.spec.importers.foreign_yaml import ForeignFile, leaves
from orchestrator.spec.yaml_document import Path, brief

_ARGUMENTS = ("init_args", "dict_kwargs")
_CLASS_WORDS = frozenset({"class_path", "init_args"})


def merged(sources: list[ForeignFile]) -> tuple[ForeignFile, list[str]]:
    """Return the configs as one, and a note on each value of one that a later one replaces.

    Sections, classes and their arguments are merged key by key. An argument that is a mapping is replaced as a whole,
    and so is a list, unless the key ends in ``+``, which appends.

    Args:
        sources: at least one.

    Raises:
        SpecError: One is no mapping.
    """
    for source in sources:
        if not isinstance(source.data, dict):
            raise source.refusal("one of several configs must be a mapping", "is it a LightningCLI config?")
    files = tuple(source.file for source in sources)
    merging = _Merging()
    has_fit = any(isinstance(source.data.get("fit"), dict) for source in sources)
    for source in sources:
        merging.names.append(FilePath(source.file).name)
        is_nested = not has_fit or isinstance(source.data.get("fit"), dict)
        merging.merge(merging.data, source.data if is_nested else {"fit": source.data}, ())
    return ForeignFile(files[-1], merging.data, before=files[:-1]), merging.notes


class _Merging:
    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.notes: list[str] = []
        self.names: list[str] = []  # of the files so far; the last is merged into the others

    def merge(self, into: dict[str, Any], over: dict[str, Any], path: Path) -> None:
        """Merge a mapping into another, and note each value that is replaced."""
        self._note_kept_arguments(into, over, path)
        for name, value in over.items():
            here, before = (*path, name), into.get(name)
            if name.endswith("+") and name[:-1]:
                into[name[:-1]] = [*_listed(into.get(name[:-1])), *_listed(value)]
            elif _is_merged(here, before, value):
                into[name] = _as_class(before)
                self.merge(into[name], _as_class(value), here)
            else:
                if name in into and before != value:
                    self._note_replaced(before, here)
                into[name] = copy.deepcopy(value)

    def _note_replaced(self, before: Any, path: Path) -> None:
        for leaf, value in leaves(before, path):
            source = " or ".join(self.names[:-1])
            self.notes.append(f"{key_path(leaf)}: {brief(repr(value))} of {source} is overridden by {self.names[-1]}")

    def _note_kept_arguments(self, into: dict[str, Any], over: dict[str, Any], path: Path) -> None:
        """Note the arguments of a class that another one replaces: LightningCLI keeps those that the new one takes."""
        kept, new = into.get("class_path"), over.get("class_path")
        if None in (kept, new) or kept == new:
            return
        given = [(*path, part, name) for part in _ARGUMENTS for name in into.get(part) or ()]
        if named := ", ".join(map(key_path, given)):
            name = self.names[-1]
            self.notes.append(f"{name} names {new} for {kept}: remove the arguments that it does not take: {named}")


def _is_merged(path: Path, before: Any, value: Any) -> bool:
    """Return whether the two are sections or classes, whose keys are merged; another mapping is one value."""
    if not isinstance(before, dict):
        return isinstance(before, str) and isinstance(value, dict) and "init_args" in value and len(value) == 1
    if isinstance(value, str):
        return "class_path" in before
    is_section = len(path) <= (2 if path[0] == "fit" else 1) or path[-1] in _ARGUMENTS
    return isinstance(value, dict) and (is_section or not _CLASS_WORDS.isdisjoint(before.keys() | value.keys()))


def _as_class(value: Any) -> dict[str, Any]:
    """Return a class that is written as its path alone as a mapping."""
    return {"class_path": value} if isinstance(value, str) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
