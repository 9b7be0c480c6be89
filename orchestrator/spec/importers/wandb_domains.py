"""Translate the parameters of a W&B sweep to domains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, const, integer, log_int, log_normal, log_uniform, normal, uniform
from orchestrator.space.domain import same_value
from orchestrator.space.search_space import SPACE_LIMIT
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.words import known

_UNTRANSLATED = ("beta", "q_beta")
_WORDS = ("distribution", "values", "value", "min", "max", "mu", "sigma", "q", "probabilities", "parameters", "a", "b")
_W_AND_B_DEFAULTS = {"min": 0, "max": 1, "mu": 0, "sigma": 1, "q": 1}
_NATURAL_EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")


def translate_parameters(parameters: dict[str, Any], draft: Draft, door: Door) -> dict[str, Any]:
    """Return the ``space`` of W&B's ``parameters``; what has no counterpart is noted.

    Args:
        parameters: as the file has them.
        draft: gets the notes.
        door: gives the parameters their names.
    """
    space: dict[str, Any] = {}
    flat = list(_flat(parameters, draft, ("parameters",)))
    for name, path, parameter in flat[SPACE_LIMIT:]:
        draft.note(f"parameters.{name}: {parameter} is left out: {SPACE_LIMIT} parameters are the limit", *path)
    for name, path, parameter in flat[:SPACE_LIMIT]:
        target = door.target(name)
        try:
            domain = _domain(parameter, name, path, draft)
        except (SpecError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            if isinstance(error, SpecError) and error.problems[0].file:
                raise
            reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
            draft.note(f"parameters.{name}: {parameter} is left out: {reason}", *path)
            continue
        if target in space:
            reason = f"another parameter became {target} already"
            draft.note(f"parameters.{name}: {parameter} is left out: {reason}", *path)
            continue
        if target == "trainer.max_epochs" and name != "max_epochs":
            draft.note(f"{name} became trainer.max_epochs")
        draft.take(*path)
        space[target] = domain.to_yaml()
    return space


def _flat(
    parameters: dict[str, Any], draft: Draft, at: tuple[str, ...], above: str = ""
) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Yield nested ``parameters`` under dotted names, each with its key path."""
    for name, parameter in parameters.items():
        path = (*at, name)
        if not isinstance(parameter, dict):
            if isinstance(parameter, list):
                raise draft.source.refusal(
                    f"parameter {name!r} is a list", f"write {name}: {{values: {parameter}}}", path
                )
            yield f"{above}{name}", path, {"value": parameter}
            continue
        for word in parameter:
            known(draft.source, word, _WORDS, "key of a W&B parameter", (*path, word))
        if isinstance(parameter.get("parameters"), dict):
            yield from _flat(parameter["parameters"], draft, (*path, "parameters"), f"{above}{name}.")
        else:
            yield f"{above}{name}", path, parameter


def _domain(parameter: dict[str, Any], name: str, path: tuple[str, ...], draft: Draft) -> Domain:
    """Return one parameter's domain. Raises its constructor's errors, and ValueError where there is no counterpart."""
    kind = parameter.get("distribution") or _implied(parameter)
    known(draft.source, kind, (*_DISTRIBUTIONS, *_UNTRANSLATED), "distribution of W&B", (*path, "distribution"))
    if kind in _UNTRANSLATED:
        raise ValueError(f"the distribution {kind} has no counterpart")
    defaults = [word for word in _needed(kind) if parameter.get(word) is None]
    if defaults:
        said = ", ".join(f"{word} {_W_AND_B_DEFAULTS[word]}" for word in defaults)
        draft.note(f"parameters.{name}: the file leaves out {' and '.join(defaults)}; W&B's defaults are {said}")
    domain = _DISTRIBUTIONS[kind](
        {**_W_AND_B_DEFAULTS, **{k: v for k, v in parameter.items() if v is not None or k == "value"}}
    )
    for word in parameter.keys() - set(_needed(kind)) - {"distribution", "values", "value", "parameters"}:
        reason = "every choice is equally likely" if word == "probabilities" else f"{kind} does not use it"
        draft.note(f"parameters.{name}.{word}: {parameter[word]} is left out: {reason}")
    _note_changes(parameter, name, kind, draft)
    return domain


def _note_changes(parameter: dict[str, Any], name: str, kind: str, draft: Draft) -> None:
    """Say where the domain is not the distribution that the file has."""
    if kind.startswith("inv_"):
        draft.note(f"parameters.{name}: {kind} became log_uniform, which has the same distribution")
    if kind in _NATURAL_EXPONENTS:
        low, high = (parameter.get(end, _W_AND_B_DEFAULTS[end]) for end in ("min", "max"))
        first, last = (-high, -low) if kind.startswith("inv_") else (low, high)
        ends = f"e^{first} to e^{last}, {math.exp(first):.4g} to {math.exp(last):.4g}"
        draft.note(f"parameters.{name}: W&B reads min and max of {kind} as exponents: {ends}")
        if 0 <= low < high and (high <= 1 or (low > 0 and high / low >= 10)):
            draft.note(
                f"parameters.{name}: {low} and {high} look like values, not exponents; if they are, "
                f"write {{log_uniform: [{low or 'LOW'}, {high}]}} here, and {kind}_values in the W&B file"
            )
    values = parameter.get("values") if kind.startswith("categorical") else None
    if values:
        counts: dict[str, tuple[Any, int]] = {}
        for value in values:
            counts[same_value(value)] = value, counts.get(same_value(value), (value, 0))[1] + 1
        for value, count in counts.values():
            if count > 1:
                share = f"{count} of {len(values)} times"
                draft.note(f"parameters.{name}: {value!r} is listed {share}, as a weight; here each value counts once")


def _needed(kind: str) -> tuple[str, ...]:
    if kind in ("constant", "categorical", "categorical_w_probabilities"):
        return ()
    ends = ("mu", "sigma") if kind.endswith("normal") else ("min", "max")
    return (*ends, "q") if kind.startswith("q_") else ends


def _implied(parameter: dict[str, Any]) -> str:
    if "values" in parameter:
        return "categorical"
    if "value" in parameter:
        return "constant"
    if parameter.keys() & {"mu", "sigma"}:
        return "normal"
    integers = all(type(parameter.get(end)) is int for end in ("min", "max"))
    return "int_uniform" if integers else "uniform"


def _choice(parameter: dict[str, Any]) -> Domain:
    values = parameter["values"]
    if not isinstance(values, list):
        raise TypeError(f"values must be a list, but got {values!r}")
    return choice(list({same_value(value): value for value in values}.values()))


def _ends(parameter: dict[str, Any]) -> tuple[Any, Any]:
    return parameter["min"], parameter["max"]


def _powers(parameter: dict[str, Any]) -> tuple[float, float]:
    """Return the ends of W&B's ``log_uniform``, which are natural logarithms."""
    low, high = _ends(parameter)
    return math.exp(low), math.exp(high)


def _inner(low: Any, high: Any, step: Any) -> tuple[Any, Any]:
    """Return the outermost multiples of ``step`` that W&B's draws between ``low`` and ``high`` are rounded to.

    Its steps start at 0, ours at the low end. A draw exactly at an end has no probability.
    """
    unit, half = Decimal(repr(step)), Decimal("0.5")
    first = math.floor(Decimal(repr(low)) / unit + half) * unit
    last = max(math.ceil(Decimal(repr(high)) / unit - half) * unit, first)
    return (int(first), int(last)) if isinstance(step, int) else (float(first), float(last))


def _stepped(make: Callable[..., Domain], low: Any, high: Any, step: Any) -> Domain:
    low, high = _inner(low, high, step)
    if make is log_uniform and low <= 0:
        low = step
    if isinstance(step, int):
        return (integer if make is uniform else log_int)(low, max(low, high), step if low < high else None)
    return make(low, high, step) if low < high else const(low)


def _mu_sigma(parameter: dict[str, Any]) -> tuple[Any, Any]:
    return parameter["mu"], parameter["sigma"]


_DISTRIBUTIONS: dict[str, Callable[[dict[str, Any]], Domain]] = {
    "constant": lambda parameter: const(parameter["value"]),
    "categorical": _choice,
    "categorical_w_probabilities": _choice,
    "int_uniform": lambda parameter: integer(*_ends(parameter)),
    "uniform": lambda parameter: uniform(*_ends(parameter)),
    "q_uniform": lambda parameter: _stepped(uniform, *_ends(parameter), parameter["q"]),
    "log_uniform": lambda parameter: log_uniform(*_powers(parameter)),
    "log_uniform_values": lambda parameter: log_uniform(*_ends(parameter)),
    "q_log_uniform": lambda parameter: _stepped(log_uniform, *_powers(parameter), parameter["q"]),
    "q_log_uniform_values": lambda parameter: _stepped(log_uniform, *_ends(parameter), parameter["q"]),
    "inv_log_uniform": lambda parameter: log_uniform(1 / _powers(parameter)[1], 1 / _powers(parameter)[0]),
    "inv_log_uniform_values": lambda parameter: log_uniform(*_ends(parameter)),
    "normal": lambda parameter: normal(*_mu_sigma(parameter)),
    "q_normal": lambda parameter: normal(*_mu_sigma(parameter), parameter["q"]),
    "log_normal": lambda parameter: log_normal(*_mu_sigma(parameter)),
    "q_log_normal": lambda parameter: log_normal(*_mu_sigma(parameter), parameter["q"]),
}
