"""What an argument's annotation allows: plain JSON values are judged here, the rest is left to jsonargparse."""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, Union

_ANYTHING = (Any, object)
_PLAIN = (bool, int, float, str, type(None), *_ANYTHING)
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_NO_COMPONENTS = ("builtins", "datetime", "decimal", "pathlib", "typing", "collections.abc", "types", "uuid")


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; the annotation itself where it is none."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(inner for member in typing.get_args(annotation) for inner in alternatives(member))
    return (annotation,)


def fits(annotation: Any, value: Any) -> bool:
    """Whether ``value`` is, as it stands, plainly a value of ``annotation``. False also means: not known here."""
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
        return any(type(value) is type(word) and value == word for word in inside)
    if origin in _LISTS:
        return isinstance(value, list) and all(fits(inside[0] if inside else Any, item) for item in value)
    if origin in _MAPPINGS:
        return isinstance(value, dict) and all(fits(inside[1] if inside else Any, item) for item in value.values())
    return False


def is_plain(annotation: Any) -> bool:
    """Whether ``fits`` knows all about ``annotation``, so that what does not fit is wrong."""
    for member in alternatives(annotation):
        origin, inside = typing.get_origin(member) or member, typing.get_args(member)
        if origin is Literal:
            if any(isinstance(word, Enum) for word in inside):
                return False
        elif origin in (*_LISTS, *_MAPPINGS):
            if not all(is_plain(argument) for argument in inside):
                return False
        elif member not in (None, *_PLAIN):
            return False
    return True


def as_floats(annotation: Any, value: Any) -> Any:
    """Integers as floats where floats are wanted and integers are not, in lists too."""
    if type(value) is int:
        members = alternatives(annotation)
        return float(value) if float in members and not {int, *_ANYTHING} & set(members) else value
    if isinstance(value, list) and value and typing.get_args(annotation):
        return [as_floats(element(annotation), item) for item in value]
    return value


def component_classes(annotation: Any) -> tuple[type, ...]:
    """The classes in a union whose objects are built of a ``class_path``: modules, callbacks, a user's own."""
    found = []
    for member in alternatives(annotation):
        origin = typing.get_origin(member) or member
        if isinstance(origin, type) and origin.__module__ not in _NO_COMPONENTS and not issubclass(
            origin, Enum | PurePath
        ):  # fmt: skip
            found.append(origin)
    return tuple(found)


def is_factory(annotation: Any) -> bool:
    """Whether a callable is wanted (LightningCLI's ``OptimizerCallable``): jsonargparse makes one of a class_path."""
    return any((typing.get_origin(member) or member) is collections.abc.Callable for member in alternatives(annotation))


def element(annotation: Any) -> Any:
    """What the annotation says of a list's items; Any where it says nothing."""
    for member in alternatives(annotation):
        inside = typing.get_args(member)
        if inside and (typing.get_origin(member) in (*_LISTS, tuple)):
            return inside[0]
    return Any


def words(annotation: Any) -> list[str]:
    """The texts that a Literal allows."""
    literals = [member for member in alternatives(annotation) if typing.get_origin(member) is Literal]
    return [str(word) for member in literals for word in typing.get_args(member)]


def shown(annotation: Any) -> str:
    """The annotation as people write it."""
    text = " | ".join(map(_shown_one, alternatives(annotation)))
    return text.replace("typing.", "").replace("collections.abc.", "")


def _shown_one(member: Any) -> str:
    if typing.get_origin(member) is Literal:
        return " | ".join(map(repr, typing.get_args(member)))
    if isinstance(member, type) and not typing.get_args(member):
        return "None" if member is type(None) else member.__name__
    return str(member)


def through_jsonargparse(annotation: Any, value: Any) -> Any:
    """``value`` as jsonargparse reads it for ``annotation``: lists become tuples, text becomes paths and enums.

    Raises ValueError with jsonargparse's reason. Nothing is instantiated but what ``instantiated`` is called for.
    """
    parser = _parser(annotation)
    try:
        return parser.parse_object({"value": value})
    except Exception as error:  # argparse.ArgumentError, or whatever a registered type raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(" ".join(line for line in lines if not line.startswith("Parser key"))) from None


def instantiated(annotation: Any, value: Any) -> Any:
    """``value`` read for ``annotation`` with everything in it built: tuples, enums, paths, factories, dataclasses."""
    return _parser(annotation).instantiate(through_jsonargparse(annotation, value)).value


def _parser(annotation: Any) -> Any:
    with contextlib.suppress(TypeError):  # an annotation that cannot be hashed is read anew each time
        return _cached_parser(annotation)
    return _new_parser(annotation)


def _new_parser(annotation: Any) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    return parser


_cached_parser = functools.cache(_new_parser)


def parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """The items of a list or mapping, with where they sit."""
    if isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, dict):
        yield from value.items()
