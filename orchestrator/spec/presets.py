"""Presets: named sets of overrides in a sweep file, as ``presets: {laptop: {budget.trials: 8}}``.

The keys of a preset are those of ``--set``. A preset is chosen by ``--preset``, and ``--set`` comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.overrides import field_path, set_field
from orchestrator.spec.yaml_document import Document, Path

KEY = "presets"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Named sets of overrides, chosen by --preset NAME. Their keys are those of --set.",
    "additionalProperties": {"type": "object"},
    "examples": [{"laptop": {"trainer.max_epochs": 3, "budget.trials": 8}}],
}


def choose_preset(document: Document, chosen: str | None) -> list[Problem]:
    """Remove the presets from a document and apply the chosen one, at its own positions; return the problems."""
    data: Any = document.data
    presets = data.pop(KEY, None)
    if presets is None:
        hint = f"the file has none; add {KEY}: {{{chosen}: {{budget.trials: 8}}}}, or leave --preset out"
        return [Problem(f"there is no preset {chosen!r}", hint, file=document.file)] if chosen else []
    problems = [_located(problem, document) for problem in _shape_problems(presets)]
    if problems or chosen is None:
        return problems
    if chosen not in presets:
        near = get_close_matches(chosen, presets, n=1)
        hint = f"did you mean {near[0]}?" if near else f"presets here: {', '.join(presets) or 'none'}"
        return [_located(Problem(f"there is no preset {chosen!r}", hint, (KEY,)), document)]
    return list(_applied(document, chosen, presets[chosen]))


def preset_names(document: Document) -> list[str]:
    """Return the names of a document's presets."""
    presets = document.data.get(KEY) if isinstance(document.data, dict) else None
    return list(map(str, presets)) if isinstance(presets, dict) else []


def _shape_problems(presets: Any) -> Iterator[Problem]:
    example = f"e.g. {KEY}: {{laptop: {{budget.trials: 8}}}}"
    if not isinstance(presets, dict):
        yield Problem(f"`{KEY}` must be a mapping of names to overrides, but got {presets!r}", example, (KEY,))
        return
    for name, overrides in presets.items():
        if not isinstance(overrides, dict):
            yield Problem(f"the preset `{name}` must be a mapping, but got {overrides!r}", example, (KEY, name))


def _applied(document: Document, chosen: str, overrides: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in overrides.items():
        origin = (KEY, chosen, key)
        path = field_path(key)
        source = f"preset {chosen}"
        try:
            set_field(document, path, value, source=source)
        except SpecError as error:
            yield from (_located(Problem(p.message, p.hint, origin), document) for p in error.problems)
            continue
        _move_marks(document, origin, path, source)


def _move_marks(document: Document, origin: Path, path: Path, source: str) -> None:
    """Give a field that was set, and the mappings made for it, the position of the preset's entry."""
    place = document.keys[origin]
    for made in [made for made, said in document.overridden.items() if said == source]:
        del document.overridden[made]
        document.keys[made] = document.values[made] = place
    for marks in (document.keys, document.values):
        inside = {marked: at for marked, at in marks.items() if marked[: len(origin)] == origin}
        marks.update({(*path, *marked[len(origin) :]): at for marked, at in inside.items()})


def _located(problem: Problem, document: Document) -> Problem:
    place = document.locate(problem.path, key=True)
    return Problem(problem.message, problem.hint, problem.path, **place)
