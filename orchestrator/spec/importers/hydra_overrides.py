"""Read Hydra's sweep syntax: ``choice(a, b)``, ``range(1, 10)``, ``interval(0, 1)``, ``tag(log, …)``, ``a,b,c``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.space import Domain, choice, const, integer, log_int, log_uniform, uniform
from orchestrator.spec.yaml_document import scalar

_CALL = re.compile(r"\s*([a-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_NAMED = re.compile(r"(start|stop|end|step|reverse|list)\s*=\s*(.*)", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"


def domain_of(value: Any, kind: str) -> Domain:
    """Return the domain of a swept value.

    Args:
        value: text in Hydra's syntax, or a mapping as the Optuna and Ax sweepers take it.
        kind: ``optuna``, ``ax`` or ``basic``, which read ranges differently.

    Raises:
        ValueError: It has no counterpart.
    """
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, list):
        return choice(_distinct(value))
    if not isinstance(value, str):
        return const(value)
    if call := _CALL.fullmatch(value):
        return _of_call(call[1], call[2], kind)
    parts = _split(value)
    return choice(_distinct([_value(part) for part in parts])) if len(parts) > 1 else const(_value(value))


def _of_mapping(value: Mapping[str, Any]) -> Domain:
    kind = value.get("type")
    if kind in ("categorical", "choice"):
        return choice(_distinct(list(value.get("choices", value.get("values", [])))))
    if kind == "fixed":
        return const(value["value"])
    if kind in ("float", "int"):
        low, high, step, log = value["low"], value["high"], value.get("step"), bool(value.get("log"))
    elif kind == "range":
        (low, high), step, log = value["bounds"], None, bool(value.get("log_scale"))
        whole = type(low) is int and type(high) is int  # as Ax infers the type that is not written
        kind = value.get("value_type") or ("int" if whole else "float")
    else:
        raise ValueError(f"the type {kind!r} has no counterpart")
    return _range(low, high, step, log=log, whole=kind == "int")


def _of_call(name: str, inside: str, kind: str, tags: frozenset[str] = frozenset()) -> Domain:
    arguments = _split(inside)
    named = {match[1]: match[2] for part in arguments if (match := _NAMED.fullmatch(part))}
    plain = [part for part in arguments if not _NAMED.fullmatch(part)]
    if name == "tag":
        inner = _CALL.fullmatch(plain[-1])
        if inner is None:
            raise ValueError(f"tag takes a range or an interval, but got {plain[-1]!r}")
        return _of_call(inner[1], inner[2], kind, tags | {part.strip() for part in plain[:-1]})
    if name in ("int", "float", "str", "bool", "shuffle", "sort"):
        plain = plain or [named[word] for word in ("list",) if word in named]
        inner = _CALL.fullmatch(plain[0]) if plain else None
        if inner is None:
            values = [_value(part) for part in plain]
            listed = values[0] if len(values) == 1 and isinstance(values[0], list) else values
            return choice(_distinct([_cast(name, each) for each in listed]))
        kind = "basic" if name == "shuffle" else kind  # a list of values in the plug-in, too
        return _of_call(inner[1], inner[2], kind, tags | ({name} if name in ("int", "float") else frozenset()))
    if name == "choice":
        return choice(_distinct([_value(part) for part in plain]))
    numbers = [_value(part) for part in plain]
    given = {key: _value(text) for key, text in named.items()}
    if name == "interval":
        low, high = (*numbers, *(given[key] for key in ("start", "end") if key in given))
        return _range(low, high, None, log="log" in tags, whole="int" in tags)
    if name == "range":
        cast = next((word for word in ("int", "float") if word in tags), "")
        numbers, given = (
            [_cast(cast, each) for each in numbers],
            {key: _cast(cast, each) for key, each in given.items()},
        )
        return _of_range(numbers, given, kind, log="log" in tags)
    raise ValueError(f"{name}(…) has no counterpart")


def _of_range(numbers: list[Any], given: dict[str, Any], kind: str, *, log: bool) -> Domain:
    ends = [0, *numbers] if len(numbers) == 1 and "stop" not in given else numbers
    names = dict(zip(("start", "stop", "step"), ends, strict=False)) | given
    start, stop, step = names.get("start", 0), names["stop"], names.get("step", 1)
    whole = all(type(number) is int for number in (start, stop, step))
    step = step if whole else float(step)
    if kind == "optuna":  # the plug-in includes the end
        return _range(start, stop, step, log=log, whole=whole)
    values: list[Any] = []
    while (start + len(values) * step < stop) if step > 0 else (start + len(values) * step > stop):
        value = start + len(values) * step
        values.append(value if whole else round(value, 12))
    return choice(values)


def _range(low: Any, high: Any, step: Any, *, log: bool, whole: bool) -> Domain:
    step = None if log or (whole and step == 1) else step
    if whole:
        return (log_int if log else integer)(int(low), int(high), int(step) if step else None)
    return (log_uniform if log else uniform)(float(low), float(high), step)


def _cast(name: str, value: Any) -> Any:
    casts: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}
    return casts[name](value) if name in casts else value


def _value(text: str) -> Any:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text[:1] == "[" and text[-1] == "]":
        return [_value(part) for part in _split(text[1:-1])]
    if text[:1] == "{" and text[-1] == "}":  # ``{a:1}`` needs no space
        pairs = [part.partition(":") for part in _split(text[1:-1])]
        return {_value(key): _value(value) for key, _, value in pairs}
    return scalar(text) if text.lower() not in ("true", "false") else text.lower() == "true"


def _split(text: str) -> list[str]:
    """Return the parts between the commas that are in no bracket and in no quotes."""
    parts, depth, quote, current = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [part.strip() for part in [*parts, current] if part.strip()]


def _distinct(values: list[Any]) -> list[Any]:
    found: dict[str, Any] = {repr(value): value for value in values}
    return list(found.values())
