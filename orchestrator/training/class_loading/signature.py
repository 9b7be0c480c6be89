"""The arguments of a class: names, annotations and which must be given."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One argument of a class; Any where it is not annotated, or its annotation cannot be resolved."""

    name: str
    annotation: Any
    required: bool


@dataclass(frozen=True)
class Signature:
    """The arguments of a class in order. ``open``: it takes any other by ``**kwargs``."""

    arguments: Mapping[str, Argument]
    open: bool


@functools.cache
def signature(cls: type) -> Signature:
    """What ``cls(...)`` takes. ``**kwargs`` that the class hands on to its parents are followed by jsonargparse."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # written in C, and silent about it
        return Signature({}, open=True)
    hints = _hints(cls)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    arguments = {
        p.name: Argument(p.name, hints.get(p.name, Any), required=p.default is inspect.Parameter.empty) for p in named
    }
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return Signature(arguments, open=False)
    handed_on = [name for name in _followed(cls) if name not in arguments]
    inherited = {name: Argument(name, _inherited_hint(cls, name), required=False) for name in handed_on}
    return Signature(arguments | inherited, open=not inherited)


def _hints(cls: type) -> dict[str, Any]:
    """The annotations of the constructor; those that only a type checker can resolve are left out."""
    constructor = cls.__init__ if cls.__init__ is not object.__init__ else cls.__new__  # type: ignore[misc]
    try:
        return typing.get_type_hints(constructor, include_extras=True)
    except Exception:  # a NameError from `if TYPE_CHECKING:` imports, mostly
        raw = getattr(constructor, "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def _followed(cls: type) -> list[str]:
    from jsonargparse import ArgumentParser

    try:
        return list(ArgumentParser(exit_on_error=False).add_class_arguments(cls, fail_untyped=False))
    except Exception:  # what jsonargparse cannot follow is left open
        return []


def _inherited_hint(cls: type, name: str) -> Any:
    for parent in cls.__mro__[1:]:
        hints = _hints(parent) if "__init__" in vars(parent) else {}
        if name in hints:
            return hints[name]
    return Any
