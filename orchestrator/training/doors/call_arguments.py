"""Give a function its arguments: each by its name, or all of them as the fields of one ``cfg``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import Problem
from orchestrator.space import KeyProblem
from orchestrator.spec.command_line import nested
from orchestrator.training.class_loading import argument_types
from orchestrator.training.doors.optuna_trial import Fields, OptunaTrial

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Shape:
    """How a function takes its arguments.

    Attributes:
        name: of the function, for messages.
        parameters: by name.
        hints: their annotations, those that can be resolved.
        config: the parameter that takes all arguments as its fields; empty if each has a parameter of its own.
        is_open: whether it takes any keyword.
    """

    name: str
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, Any]
    config: str
    is_open: bool


def shape_of(function: Callable[..., Any], names: list[str]) -> Shape:
    """Return how ``function`` takes arguments of these dotted names."""
    parameters = dict(inspect.signature(function).parameters)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # a NameError from `if TYPE_CHECKING:` imports, mostly
        hints = {}
    is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    named = {
        name: each for name, each in parameters.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    roots = {name.partition(".")[0] for name in names}
    needed = [name for name, each in named.items() if each.default is each.empty]
    first = next(iter(named), "")
    takes_fields = first and named[first].kind in _POSITIONAL and not roots & named.keys() and not is_open
    config = first if takes_fields and (needed == [first] or (not needed and len(named) == 1)) else ""
    if config and argument_types.fits(hints.get(config, Any), 0.5) and hints.get(config, Any) not in (Any, object):
        config = ""  # a number, and no place for fields
    return Shape(getattr(function, "__qualname__", repr(function)), named, hints, config, is_open)


def bound(function: Callable[..., Any], args: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments to call the function with.

    Raises:
        TypeError, ValueError: as the type of a ``cfg`` raises them for its fields.
    """
    shape, tree = shape_of(function, list(args)), nested(args)
    if shape.config:
        tree = {shape.config: tree}
    values = {name: _made(shape, name, value) for name, value in tree.items()}
    positional = [
        values.pop(name)
        for name, each in shape.parameters.items()
        if each.kind is each.POSITIONAL_ONLY and name in values
    ]
    return positional, values


def _made(shape: Shape, name: str, value: Any) -> Any:
    """Return an argument in the form that the function's annotation asks for."""
    if not isinstance(value, Mapping):
        return value
    if _is_optuna_trial(name, shape.hints.get(name, Any)):
        return OptunaTrial(_as_fields(value))
    parameter = shape.parameters.get(name)
    default = parameter.default if parameter and parameter.default is not parameter.empty else None
    return config_of(shape.hints.get(name, Any), value, default)


def _is_optuna_trial(name: str, annotation: Any) -> bool:
    """Return whether an argument is the trial of an Optuna objective, by its annotation or else by its name."""
    if _is_untyped(annotation):
        return name == "trial"
    classes = [each for each in argument_types.alternatives(annotation) if isinstance(each, type)]
    return any(cls.__module__.startswith("optuna.") and cls.__name__.endswith("Trial") for cls in classes)


def config_of(annotation: Any, fields: Mapping[str, Any], default: Any = None) -> Any:
    """Return fields as a dataclass, Namespace, OmegaConf or pydantic object; without an annotation as `Fields`."""
    cls = _config_class(annotation) or (type(default) if _is_config(type(default)) else None)
    if cls is None:
        return _as_fields(fields) if _is_untyped(annotation) else dict(fields)
    if issubclass(cls, argparse.Namespace):
        return cls(**{name: _as_namespace(cls, value) for name, value in fields.items()})
    if cls is types.SimpleNamespace:
        return cls(**fields)
    if dataclasses.is_dataclass(cls):
        return _as_dataclass(cls, fields)
    if hasattr(cls, "model_validate"):
        return cls.model_validate(dict(fields))
    return importlib.import_module("omegaconf").OmegaConf.create(dict(fields))


def _is_untyped(annotation: Any) -> bool:
    return annotation in (Any, object, inspect.Parameter.empty)


def _config_class(annotation: Any) -> type | None:
    for member in argument_types.alternatives(annotation):
        if isinstance(member, type) and _is_config(member):
            return member
    return None


def _is_config(cls: type) -> bool:
    known = issubclass(cls, argparse.Namespace) or cls is types.SimpleNamespace or dataclasses.is_dataclass(cls)
    return known or hasattr(cls, "model_validate") or cls.__module__.startswith("omegaconf")


def _as_fields(value: Any) -> Any:
    return Fields({name: _as_fields(item) for name, item in value.items()}) if isinstance(value, Mapping) else value


def _as_namespace(cls: type[argparse.Namespace], value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return cls(**{name: _as_namespace(cls, item) for name, item in value.items()})


def _as_dataclass(cls: type, fields: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    return cls(**{
        name: config_of(hints.get(name, Any), value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
    })  # fmt: skip


def argument_problems(function: Callable[..., Any], args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield why the function cannot be called with these arguments; paths begin with the argument's dotted name."""
    shape = shape_of(function, list(args))
    if shape.config:
        yield from _field_problems(shape.name, shape.hints.get(shape.config, Any), nested(args), "")
        return
    tree = nested(args)
    for name, value in tree.items():
        if name in shape.parameters:
            yield from _value_problems(shape, name, value)
        elif not shape.is_open:
            yield KeyProblem(
                f"{shape.name} takes no argument {name!r}", _nearest(name, list(shape.parameters)), (name,)
            )
    misspelt = {near for name in tree if name not in shape.parameters
                for near in get_close_matches(name, list(shape.parameters), n=1)}  # fmt: skip
    for name, parameter in shape.parameters.items():
        if parameter.default is parameter.empty and name not in tree and name not in misspelt:
            yield Problem(
                f"{shape.name} needs the argument `{name}`", f"add it to `space`, or to `args`: {{{name}: …}}", (name,)
            )


def _value_problems(shape: Shape, name: str, value: Any) -> Iterator[Problem]:
    annotation = shape.hints.get(name, Any)
    if isinstance(value, Mapping):
        default = shape.parameters[name].default
        typed = annotation if _config_class(annotation) or not _is_config(type(default)) else type(default)
        yield from _field_problems(shape.name, typed, value, f"{name}.")
    else:
        yield from _type_problem(f"{shape.name}'s `{name}`", annotation, value, name)


def _field_problems(function: str, annotation: Any, fields: Mapping[str, Any], above: str) -> Iterator[Problem]:
    """Yield fields that a dataclass or a pydantic model does not have, or that have another type."""
    cls = _config_class(annotation)
    known = _fields_of(cls) if cls else None
    if cls is None or known is None:
        return
    hints = typing.get_type_hints(cls)
    for name, value in fields.items():
        if name not in known:
            hint = _nearest(name, list(known))
            yield KeyProblem(f"{function}: {cls.__name__} has no field {name!r}", hint, (f"{above}{name}",))
        elif isinstance(value, Mapping):
            yield from _field_problems(function, hints.get(name, Any), value, f"{above}{name}.")
        else:
            label = f"{cls.__name__}'s `{name}`"
            yield from _type_problem(label, hints.get(name, Any), value, f"{above}{name}")
    for name, is_needed in known.items():
        if is_needed and name not in fields and not get_close_matches(name, list(fields), n=1):
            path = f"{above}{name}"
            message = f"{function}: {cls.__name__} needs the field `{name}`"
            yield Problem(message, f"add it to `space`, or to `args`: {{{path}: …}}", (path,))


def _fields_of(cls: type) -> dict[str, bool] | None:
    """Return the names of a class's fields, and whether each has to be given; None if it takes any."""
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return {
            each.name: each.default is missing and each.default_factory is missing
            for each in dataclasses.fields(cls)
            if each.init
        }
    fields = getattr(cls, "model_fields", None)
    return {name: each.is_required() for name, each in fields.items()} if isinstance(fields, Mapping) else None


def _type_problem(label: str, annotation: Any, value: Any, name: str) -> Iterator[Problem]:
    """Yield a problem if a plain annotation excludes the value."""
    members = argument_types.alternatives(annotation)
    decided = all(argument_types.is_plain(member) for member in members)
    if not decided or argument_types.fits(annotation, value) or (isinstance(value, str) and "${" in value):
        return
    if not isinstance(value, bool | int | float | str):
        return
    expected = argument_types.type_name(annotation)
    yield Problem(
        f"{label} must be {expected}, but got {value!r} ({type(value).__name__})",
        f"give a value of type {expected}", (name,),
    )  # fmt: skip


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'no arguments'}"
