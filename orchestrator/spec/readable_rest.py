"""What a sweep file that is refused still says: the sections that tell what is trained, without their mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import Problem
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.validation_errors import validated
from orchestrator.spec.yaml_document import Document, Path

_KEPT = (
    "name", "seed", "model", "data", "optimizer", "lr_scheduler", "objects", "train", "program", "command", "args",
    "trainer", "space", "resources",
)  # fmt: skip
_OBJECTIVE = {"metric": "value", "mode": "min"}  # is not checked with the rest
_ROUNDS = 4
_DOMAIN = 2  # the length of a domain's path: of one with a mistake nothing is kept


def readable_rest(document: Document, problems: Sequence[Problem]) -> SweepSpec | None:
    """Return the spec of those sections; None if they cannot be read, or do not say what is trained.

    Args:
        document: of the file.
        problems: its mistakes.
    """
    if not isinstance(document.data, dict):
        return None
    sections: Any = {key: _copied(document.data[key]) for key in _KEPT if key in document.data}
    for _ in range(_ROUNDS):
        if not all(_remove(sections, problem.path) for problem in problems):
            return None
        sections["objective"] = dict(_OBJECTIVE)
        spec, problems = validated(sections)
        if spec is not None:
            spec._document = document
            return spec
    return None


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _remove(sections: Any, path: Path) -> bool:
    """Remove what is at ``path``, if it is kept; return whether that makes sense."""
    if not path:
        return False
    path = path[:_DOMAIN] if path[0] == "space" else path
    for key in path[:-1]:
        inside = isinstance(sections, dict) and key in sections
        inside = inside or (isinstance(sections, list) and isinstance(key, int) and key < len(sections))
        if not inside:
            return True
        sections = sections[key]
    if isinstance(sections, dict):
        sections.pop(path[-1], None)
    return True
