"""The arguments of a class, and the values that their annotations allow.

Plain JSON values are checked here; everything else (tuples, enums, paths, factories) is left to jsonargparse.
"""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, Union


@dataclass(frozen=True)
class Argument:
    """One argument of a class. ``annotation`` is Any if there is none, or if it cannot be resolved."""

    name: str
    annotation: Any
    required: bool
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function, in order.

    ``open``: further arguments are accepted by ``**kwargs``, whose names are not known. ``takes_any``: there is a
    ``**kwargs``, whether or not its names are known.
    """

    arguments: Mapping[str, Argument]
    open: bool
    takes_any: bool = False


@functools.cache
def signature(cls: Any) -> Signature:
    """Return the arguments of a class or function, with those that ``**kwargs`` passes on (by jsonargparse)."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return Signature({}, open=True, takes_any=True)
    hints = _hints(cls)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    arguments = {
        p.name: Argument(p.name, hints.get(p.name, Any), p.default is inspect.Parameter.empty, p.default) for p in named
    }
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return Signature(arguments, open=False)
    if not isinstance(cls, type):
        return Signature(arguments, open=True, takes_any=True)
    forwarded = [name for name in _jsonargparse_names(cls) if name not in arguments]
    inherited = {name: Argument(name, _inherited_hint(cls, name), required=False) for name in forwarded}
    return Signature(arguments | inherited, open=not inherited, takes_any=True)


def _hints(cls: Any) -> dict[str, Any]:
    """Return the annotations of a constructor or function, without those that only a type checker can resolve."""
    constructor = cls
    if isinstance(cls, type):
        constructor = cls.__init__ if cls.__init__ is not object.__init__ else cls.__new__  # type: ignore[misc]
    try:
        return typing.get_type_hints(constructor, include_extras=True)
    except Exception:  # a NameError from `if TYPE_CHECKING:` imports, mostly
        raw = getattr(constructor, "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def returned(function: Any) -> Any:
    """Return the annotation of what a function returns; Any if there is none."""
    return _hints(function).get("return", Any)


def _jsonargparse_names(cls: type) -> list[str]:
    from jsonargparse import ArgumentParser

    try:
        return list(ArgumentParser(exit_on_error=False).add_class_arguments(cls, fail_untyped=False))
    except Exception:  # jsonargparse cannot follow the arguments: the signature stays open
        return []


def _inherited_hint(cls: type, name: str) -> Any:
    for parent in cls.__mro__[1:]:
        hints = _hints(parent) if "__init__" in vars(parent) else {}
        if name in hints:
            return hints[name]
    return Any


_ANYTHING = (Any, object)
_PLAIN = (bool, int, float, str, type(None), *_ANYTHING)
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_NO_COMPONENTS = ("builtins", "datetime", "decimal", "pathlib", "typing", "collections.abc", "types", "uuid")


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself if it is not a union."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(inner for member in typing.get_args(annotation) for inner in alternatives(member))
    return (annotation,)


def fits(annotation: Any, value: Any) -> bool:
    """Return whether ``value``, unconverted, is a value of ``annotation``. False may also mean "cannot be decided"."""
    return any(_fits_one(member, value) for member in alternatives(annotation))


def _fits_one(annotation: Any, value: Any) -> bool:
    if annotation in _ANYTHING:
        return True
    if annotation in (None, type(None)):
        return value is None
    if annotation is float:
        return type(value) in (float, int)
    if annotation in (bool, int, str):
        return type(value) is annotation
    origin, inside = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inside)
    if origin in _LISTS:
        return isinstance(value, list) and all(fits(inside[0] if inside else Any, item) for item in value)
    if origin in _MAPPINGS:
        return isinstance(value, dict) and all(
            fits(inside[0] if inside else Any, key) and fits(inside[1] if inside else Any, item)
            for key, item in value.items()
        )
    return False


def accepts(annotation: Any, value: Any) -> bool:
    """Return whether a value that was decoded, as Python would pass it, may be meant for ``annotation``.

    A number of numpy counts as a number. False is certain; True may also mean "cannot be decided".
    """
    return any(_accepts_one(member, value) for member in alternatives(annotation))


def _accepts_one(annotation: Any, value: Any) -> bool:
    if annotation in _ANYTHING or fits(annotation, value):
        return True
    if annotation in (None, type(None)):
        return value is None
    origin, inside = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is Literal:
        return value in inside
    if origin is type:
        return isinstance(value, type) and (
            not inside or not isinstance(inside[0], type) or issubclass(value, inside[0])
        )
    if origin is collections.abc.Callable:
        return callable(value)
    if not isinstance(origin, type):
        return True
    kinds = {float: numbers.Real, int: numbers.Integral, complex: numbers.Complex}
    if isinstance(value, bool) and origin in kinds:
        return False
    return isinstance(value, kinds.get(origin, origin)) and _items_accepted(origin, inside, value)


def _items_accepted(origin: type, inside: tuple[Any, ...], value: Any) -> bool:
    """Return whether each item of a list, set, homogeneous tuple or mapping is accepted; True for what has no items."""
    if isinstance(value, dict) and len(inside) == 2:
        return all(accepts(inside[0], key) and accepts(inside[1], item) for key, item in value.items())
    is_sequence = isinstance(value, list | tuple | set | frozenset) and bool(inside)
    if not is_sequence or (issubclass(origin, tuple) and (len(inside) != 2 or inside[1] is not ...)):
        return True
    return all(accepts(inside[0], item) for item in value)


def like_default(argument: Argument, value: Any) -> Any:
    """Return a sweep file's list or text as the type of the default, if the argument has no annotation.

    A list becomes a tuple or a set where the default is one, and text a path or the member of an enum.
    """
    default = argument.default
    if argument.annotation is not Any:
        return value
    if type(value) is list and type(default) in (tuple, set, frozenset):
        return type(default)(value)
    if type(value) is str and isinstance(default, PurePath):
        return type(default)(value)
    if type(value) is str and isinstance(default, Enum) and not isinstance(default, str):
        return type(default).__members__.get(value, value)
    return value


def is_plain(annotation: Any) -> bool:
    """Return whether ``fits`` decides ``annotation`` completely, so that a value which does not fit is wrong."""
    for member in alternatives(annotation):
        origin, inside = typing.get_origin(member) or member, typing.get_args(member)
        if origin is Literal:
            if any(isinstance(choice, Enum) for choice in inside):
                return False
        elif origin in _MAPPINGS and inside and not {str, *_ANYTHING} & set(alternatives(inside[0])):
            return False  # text that stands for a key is converted
        elif origin in (*_LISTS, *_MAPPINGS):
            if not all(is_plain(argument) for argument in inside):
                return False
        elif member not in (None, *_PLAIN):
            return False
    return True


def as_floats(annotation: Any, value: Any) -> Any:
    """Convert integers to floats if the annotation allows floats but no integers, in lists, too."""
    if type(value) is int:
        members = alternatives(annotation)
        return float(value) if float in members and not {int, *_ANYTHING} & set(members) else value
    if isinstance(value, list) and value and typing.get_args(annotation):
        return [as_floats(element(annotation), item) for item in value]
    return value


def component_classes(annotation: Any) -> tuple[type, ...]:
    """Return the classes in a union whose objects are built from a ``class_path``: modules, callbacks, a user's own."""
    classes = []
    for member in alternatives(annotation):
        origin = typing.get_origin(member) or member
        if isinstance(origin, type) and origin.__module__ not in _NO_COMPONENTS and not issubclass(
            origin, Enum | PurePath
        ):  # fmt: skip
            classes.append(origin)
    return tuple(classes)


def is_factory(annotation: Any) -> bool:
    """Return whether the annotation is a callable (LightningCLI's ``OptimizerCallable``), built by jsonargparse."""
    return any((typing.get_origin(member) or member) is collections.abc.Callable for member in alternatives(annotation))


def element(annotation: Any) -> Any:
    """Return the annotation of a list's items; Any if there is none."""
    for member in alternatives(annotation):
        inside = typing.get_args(member)
        if inside and (typing.get_origin(member) in (*_LISTS, tuple)):
            return inside[0]
    return Any


def literal_choices(annotation: Any) -> list[str]:
    """Return the choices of a Literal, as text."""
    literals = [member for member in alternatives(annotation) if typing.get_origin(member) is Literal]
    return [str(choice) for member in literals for choice in typing.get_args(member)]


def type_name(annotation: Any) -> str:
    """Return the annotation as source code has it: ``int | None``."""
    text = " | ".join(map(_member_name, alternatives(annotation)))
    return text.replace("typing.", "").replace("collections.abc.", "")


def _member_name(member: Any) -> str:
    if typing.get_origin(member) is Literal:
        return " | ".join(map(repr, typing.get_args(member)))
    if isinstance(member, type) and not typing.get_args(member):
        return "None" if member is type(None) else member.__name__
    return str(member)


def parse_value(annotation: Any, value: Any) -> Any:
    """Parse ``value`` for ``annotation`` by jsonargparse: lists become tuples, text becomes paths and enums.

    Classes are not instantiated; ``instantiate_value`` does that.

    Raises:
        ValueError: the value does not fit, with jsonargparse's reason.
    """
    parser = _parser(annotation)
    try:
        return parser.parse_object({"value": value})
    except Exception as error:  # argparse.ArgumentError, or any error of a registered type
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(" ".join(line for line in lines if not line.startswith("Parser key"))) from None


def instantiate_value(annotation: Any, value: Any) -> Any:
    """Parse ``value`` for ``annotation`` and build its parts: tuples, enums, paths, factories, dataclasses."""
    return _parser(annotation).instantiate(parse_value(annotation, value)).value


def _parser(annotation: Any) -> Any:
    with contextlib.suppress(TypeError):  # an annotation that cannot be hashed gets a new parser each time
        return _cached_parser(annotation)
    return _new_parser(annotation)


def _new_parser(annotation: Any) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    return parser


_cached_parser = functools.cache(_new_parser)


def items_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the items of a list or mapping, each with its index or key."""
    if isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, dict):
        yield from value.items()
