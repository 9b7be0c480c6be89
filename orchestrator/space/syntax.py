"""Read domains: ``{log_uniform: [1e-4, 1e-2]}`` in YAML, ``log_uniform(1e-4, 1e-2)`` in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, ValuesView
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space.choices import Choice, Const
from orchestrator.space.domain import Domain, KeyProblem, Value, is_number, python_number, refuse
from orchestrator.space.normals import LogNormal, Normal
from orchestrator.space.ranges import Int, LogInt, LogUniform, Uniform

KINDS: Mapping[str, type[Domain]] = {
    domain.kind: domain for domain in (Uniform, LogUniform, Int, LogInt, Choice, Normal, LogNormal, Const)
}
"""Every domain by the name it has in a sweep file."""

When = Mapping[str, Value]

_STEPLESS = ("choice", "const")
_INTEGER = ("int", "log_int")
_WHOLE_STEPS = (*_INTEGER, "normal", "log_normal")
"""Where a step that is an integer gives integers."""
_FLOATS: Mapping[str, Callable[..., Domain]] = {
    domain.kind: domain for domain in (Uniform, LogUniform, Normal, LogNormal)
}
_OTHER_FORMS = {
    "value": "a fixed value is written {const: …}; `sweep import` translates a W&B sweep file",
    "values": "a list of values is written {choice: […]}; `sweep import` translates a W&B sweep file",
    "min": "a range is written {uniform: [low, high]}; `sweep import` translates a W&B sweep file",
    "distribution": "the domain's name is the key: {log_uniform: [1e-4, 1e-2]}; `sweep import` translates W&B files",
    "randint": "integers are written {int: [low, high]}, both ends included",
    "loguniform": "did you mean log_uniform?",
}


def uniform(low: float, high: float, step: float | None = None, when: When | None = None) -> Domain:
    """Return a domain of floats in [low, high]; with ``step``, of low plus multiples of it.

    Raises SpecError for invalid arguments, as all functions for domains do.

    Example:
        ```python
        space = {"model.dropout": orchestrator.uniform(0.0, 0.5)}
        ```
    """
    return from_yaml(_domain_yaml("uniform", [low, high], step, when))


def log_uniform(low: float, high: float, step: float | None = None, when: When | None = None) -> Domain:
    """Return a domain of floats in [low, high], every order of magnitude equally likely; ``low`` is above zero.

    Example:
        ```python
        space = {"model.learning_rate": orchestrator.log_uniform(1e-4, 1e-1)}
        ```
    """
    return from_yaml(_domain_yaml("log_uniform", [low, high], step, when))


def integer(low: int, high: int, step: int | None = None, when: When | None = None) -> Domain:
    """Return a domain of integers in [low, high], both included; ``int`` in a sweep file.

    Example:
        ```python
        space = {"model.layers": orchestrator.integer(1, 6)}
        ```
    """
    return from_yaml(_domain_yaml("int", [low, high], step, when))


def log_int(low: int, high: int, step: int | None = None, when: When | None = None) -> Domain:
    """Return a domain of integers in [low, high], every order of magnitude equally likely; ``low`` is above zero.

    Example:
        ```python
        space = {"model.width": orchestrator.log_int(16, 1024)}
        ```
    """
    return from_yaml(_domain_yaml("log_int", [low, high], step, when))


def normal(mean: float, std: float, step: float | None = None, when: When | None = None) -> Domain:
    """Return a domain of floats from the normal distribution; with ``step``, a multiple of it.

    Example:
        ```python
        space = {"model.bias": orchestrator.normal(0.0, 1.0)}
        ```
    """
    return from_yaml(_domain_yaml("normal", [mean, std], step, when))


def log_normal(mean: float, std: float, step: float | None = None, when: When | None = None) -> Domain:
    """Return a domain of floats whose natural logarithm has this mean and standard deviation.

    Example:
        ```python
        space = {"model.learning_rate": orchestrator.log_normal(-6.0, 1.0)}
        ```
    """
    return from_yaml(_domain_yaml("log_normal", [mean, std], step, when))


def choice(*values: Value, when: When | None = None) -> Domain:
    """Return a domain of these values: ``choice(64, 128)``, or ``choice([64, 128])`` for the same.

    A value may be of any kind that `orchestrator.codec` writes: a tuple, a number of numpy, a class, a function, an
    enum. The trial gets it with its type.

    Example:
        ```python
        space = {"data.batch_size": orchestrator.choice(32, 64, 128)}
        ```
    """
    listed = _items(values[0]) if len(values) == 1 else values
    return from_yaml(_domain_yaml("choice", list(values if listed is None else listed), None, when))


def _items(value: object) -> Iterable[Value] | None:
    """Return the values that a program lists as one argument; None if the argument is a value itself."""
    if isinstance(value, set | frozenset):
        refuse("`choice` takes values in an order, and a set has none", hint="choice(*sorted(values))")
    is_view = isinstance(value, Iterator | KeysView | ValuesView) or type(value).__name__ in ("Series", "Index")
    return list(value) if is_view else _listed(value)  # type: ignore[call-overload]


def _listed(value: object) -> Iterable[Value] | None:
    """Return the items of a list, a tuple, a range, or a flat array or tensor; None for anything else."""
    if isinstance(value, list | tuple | range):
        return value
    library = type(value).__module__.partition(".")[0]
    if library not in ("numpy", "torch") or getattr(value, "ndim", 0) != 1:
        return None
    return list(value) if library == "numpy" else value.tolist()  # type: ignore[call-overload, attr-defined, no-any-return]


def const(value: Value, when: When | None = None) -> Domain:
    """Return a domain of one value, which is recorded as a parameter of every trial.

    Example:
        ```python
        space = {"model.learning_rate": orchestrator.const(0.01)}
        ```
    """
    return from_yaml(_domain_yaml("const", value, None, when))


def _domain_yaml(kind: str, arguments: Value, step: float | None, when: When | None) -> dict[str, Value]:
    options = {"step": step, "when": when}
    return {kind: arguments} | {key: value for key, value in options.items() if value is not None}


def from_yaml(content: object) -> Domain:
    """Return the domain that a sweep file describes. Raises SpecError with paths relative to the domain."""
    if isinstance(content, Domain):
        return content
    if not isinstance(content, Mapping):
        refuse(f"a domain must be a mapping such as {{uniform: [0, 1]}}, but got {content!r}", hint=_bare_hint(content))
    kind = _kind(content)
    options: dict[str, Any] = {"when": content["when"]} if content.get("when") is not None else {}
    if kind == "const":
        return Const(content[kind], **options)
    if kind == "choice":
        return Choice(_choices(content[kind]), **options)
    first, second = _pair(kind, content[kind])
    step = python_number(content.get("step"))
    if step is not None:
        _number(step, kind, "step")
        options["step"] = step if kind in _WHOLE_STEPS else float(step)
    if kind in _INTEGER:
        return (LogInt if kind == "log_int" else Int)(first, second, **options)
    return _FLOATS[kind](float(first), float(second), **options)


def _bare_hint(content: object) -> str:
    if isinstance(content, list | tuple | range):
        return f"to choose among these, write {{choice: {list(content)!r}}}"
    return f"for a fixed value, write {{const: {content!r}}}, or set it under init_args"


def _kind(content: Mapping[str, Value]) -> str:
    kinds = [key for key in content if key in KINDS]
    unknown_keys = [key for key in content if key not in KINDS and key not in ("step", "when")]
    if unknown_keys:
        unknown = str(unknown_keys[0])
        raise SpecError([KeyProblem(f"unknown domain key {unknown!r}", _key_hint(unknown), (unknown,))])
    if len(kinds) != 1:
        listed = " and ".join(kinds) or "none"
        refuse(f"a parameter has exactly one domain, but got {listed}", hint=f"one of {', '.join(KINDS)}")
    if kinds[0] in _STEPLESS and content.get("step") is not None:
        refuse(f"`{kinds[0]}` takes no `step`", "step", hint="steps belong to ranges: {uniform: [0, 1], step: 0.1}")
    return kinds[0]


def _key_hint(key: str) -> str:
    close = get_close_matches(key, [*KINDS, "step", "when"], n=1)
    if key in _OTHER_FORMS or not close:
        return _OTHER_FORMS.get(key, f"a domain is one of {', '.join(KINDS)}, optionally with `step` and `when`")
    return f"did you mean {close[0]}?"


def _choices(values: object) -> tuple[Value, ...]:
    listed = _listed(values)
    if listed is None:
        refuse(f"`choice` takes a list, but got {values!r}", "choice", hint="{choice: [64, 128]}")
    return tuple(listed)


def _pair(kind: str, ends: object) -> tuple[Value, Value]:
    names = "mean, std" if kind in ("normal", "log_normal") else "low, high"
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        refuse(f"`{kind}` takes two numbers, [{names}], but got {ends!r}", kind, hint=f"{{{kind}: [{names}]}}")
    first, second = map(python_number, ends)
    for end in (first, second):
        _number(end, kind, kind)
    return first, second


def _number(value: object, kind: str, *path: str) -> None:
    if not is_number(value):
        hint = "take the quotes away" if isinstance(value, str) else "write a finite number"
        refuse(f"`{kind}` takes numbers, but got {value!r} ({type(value).__name__})", *path, hint=hint)
    if kind in _INTEGER and not isinstance(value, int):
        refuse(f"`{kind}` takes integers, but got {value!r}", *path, hint="use `uniform` or `log_uniform` for floats")
