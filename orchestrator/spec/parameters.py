"""Resolve parameter names: ``model.encoder.hidden`` is an argument of the model's ``encoder``."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.errors import Problem, SpecError
from orchestrator.space import KeyProblem, Space, Value
from orchestrator.spec.interpolation import resolve_sections
from orchestrator.spec.training_code import training_code

if TYPE_CHECKING:
    from orchestrator.spec.parts import ClassSpec
    from orchestrator.spec.sweep_spec import SweepSpec

ROOTS = ("model", "data", "trainer", "optimizer", "lr_scheduler", "objects")
NAME_LIMIT = 20
"""Dots in a parameter's name."""


def canonical(name: str) -> str:
    """Return the short form: ``model.encoder.hidden`` for ``model.encoder.init_args.hidden``."""
    return ".".join(segment for segment in name.split(".") if segment not in ("init_args", "dict_kwargs"))


def parameter_problems(space: Space, sections: Collection[str]) -> Iterator[Problem]:
    """Yield problems with the names of a space: unknown roots, and one parameter under two names.

    ``sections`` are those of the file that have content.
    """
    seen: dict[str, str] = {}
    for name in space:
        root, *rest = name.split(".")
        path = ("space", name)
        if root not in ROOTS or not rest or not all(rest):
            yield KeyProblem(
                f"{name}: a parameter's name starts with model., data. or trainer.", _root_hint(name, sections), path
            )
        elif len(rest) > NAME_LIMIT:
            yield KeyProblem(f"{name}: a name has at most {NAME_LIMIT} dots", "write nested arguments as a value", path)
        elif root not in ("model", "trainer") and root not in sections:
            hint = f"add a `{root}:` section with a class_path"
            yield KeyProblem(f"{name}: there is no `{root}` to set it on", hint, path)
        elif canonical(name) in seen:
            yield KeyProblem(f"{name} and {seen[canonical(name)]} are the same parameter", "keep one of the two", path)
        seen.setdefault(canonical(name), name)


def _root_hint(name: str, sections: Collection[str]) -> str:
    root, dot, rest = name.partition(".")
    close = get_close_matches(root, [*ROOTS[:3], *sections], n=1) if dot and rest else []
    return f"did you mean {close[0]}.{rest}?" if close else f"model.{name.strip('.')} for an argument of the model"


def placement_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield parameters that cannot be applied, by trying one value of each."""
    for name, domain in spec.space.items():
        try:
            apply(spec, {name: domain.probes()[0]})
        except SpecError as error:
            yield from (Problem(f"{name}: {p.message}", p.hint, ("space", name)) for p in error.problems)
        except ValidationError as error:
            message = f"{name}: {error.errors()[0]['msg']}"
            yield Problem(message, "a whole class is set by its class_path", ("space", name))


def apply(spec: SweepSpec, params: Mapping[str, Value]) -> tuple[Any, ClassSpec | None, dict[str, Any]]:
    """Return the spec's model, data and trainer arguments with a trial's parameters; the spec is unchanged.

    The model is a ClassSpec, or in its place a TrainingCode; what that trains on is its own. References to values of
    the spec are resolved. The model holds its optimizer and scheduler, if the spec has them, and model and data what
    the remaining references in them need: `TrainedModel`, `LinkedData`.
    """
    if spec.is_code:
        return training_code(spec, params), None, copy.deepcopy(spec.trainer)
    from orchestrator.spec.linked_parts import with_parts

    roots: dict[str, Any] = {name: _dumped(getattr(spec, name)) for name in ROOTS}
    for name in sorted(params, key=lambda name: name.count(".")):  # a whole class before the arguments inside it
        root, *rest = name.split(".")
        _put(roots[root], rest, copy.deepcopy(params[name]))
    resolved = resolve_sections(roots, spec.seed)
    return (*with_parts(resolved), resolved["trainer"])


def _dumped(section: Any) -> Any:
    if isinstance(section, Mapping):
        return {name: _dumped(item) for name, item in section.items()}
    return section.model_dump() if hasattr(section, "model_dump") else copy.deepcopy(section)


def _put(target: Any, segments: list[str], value: Value) -> None:
    """Set the entry at ``segments``; create missing mappings on the way."""
    for segment, following in pairwise(segments):
        target = _entered(target, segment)
        key = _key(target, segment)
        child = target[key] if isinstance(target, list) else target.get(key)
        if isinstance(child, str) and "." in child and "${" not in child and following != "class_path":  # a bare path
            child = {"class_path": child}
        if not isinstance(child, dict | list):
            child = {}
        target[key] = child
        target = child
    target = _entered(target, segments[-1])
    target[_key(target, segments[-1])] = value


def _entered(target: Any, segment: str) -> Any:
    """Return the mapping to which ``segment`` belongs: the init_args of a class that is written out."""
    if (
        isinstance(target, dict)
        and "class_path" in target
        and segment not in ("init_args", "class_path", "dict_kwargs")
    ):
        if segment in (target.get("dict_kwargs") or {}):
            return target["dict_kwargs"]
        if target.get("init_args") is None:
            target["init_args"] = {}
        if not isinstance(target["init_args"], dict):
            message = f"the init_args of {target['class_path']} must be a mapping, but got {target['init_args']!r}"
            raise SpecError([Problem(message, "write {class_path: …, init_args: {name: value}}")])
        return target["init_args"]
    return target


def _key(target: Any, segment: str) -> Any:
    if not isinstance(target, list):
        return segment
    if not segment.isdecimal() or len(segment) > 9 or int(segment) >= len(target):
        message = f"{segment!r} is not a position in a list of {len(target)}"
        raise SpecError([Problem(message, "positions count from 0: trainer.callbacks.0.patience")])
    return int(segment)
