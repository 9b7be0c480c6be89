"""Describe an object that a program made, by its class and the arguments that make an equal one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from orchestrator.codec.references import path_of

_ABSENT = object()


def described(value: Any, encode: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Return ``{class_path, init_args}`` of an object, or None if it cannot be shown to be made of them.

    The arguments are read from the attributes of their names. A second object is made of them, and must have the same
    attributes: so an object that was changed since, or that draws random weights, is not described.

    Args:
        value: a callback, a loss or another object of a class that can be imported.
        encode: writes the attributes, to compare them. Raises an exception for what has no written form.
    """
    cls = type(value)
    try:
        arguments = _arguments(value)
        if arguments is None:
            return None
        state = encode(dict(vars(value)))
        alike = encode(dict(vars(cls(**arguments)))) == state
        return {"class_path": path_of(cls), "init_args": arguments} if alike else None
    except Exception:  # the class's own code, or an attribute without a written form
        return None


def _arguments(value: Any) -> dict[str, Any] | None:
    arguments = {}
    for name, parameter in inspect.signature(type(value)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            return None
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        held = getattr(value, name, getattr(value, f"_{name}", _ABSENT))
        if held is _ABSENT and parameter.default is parameter.empty:
            return None
        if held is not _ABSENT and not _equal(held, parameter.default):
            arguments[name] = held
    return arguments


def _equal(held: Any, default: Any) -> bool:
    return held is default or (type(held) is type(default) and bool(held == default))
