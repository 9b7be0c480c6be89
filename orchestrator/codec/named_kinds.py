"""The kinds of values that name a class or a function, which reading resolves and checks, and never calls."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from typing import Any

from orchestrator.codec.kinds import Kind, Part, Reader, items, pairs, read_items, read_pairs
from orchestrator.codec.references import is_function, path_of
from orchestrator.errors import CodecError


def _write_default(value: collections.defaultdict[Any, Any], part: Part) -> Any:
    return [part(value.default_factory, "default_factory"), pairs(value, part)]


def _write_partial(value: functools.partial[Any], part: Part) -> Any:
    return [part(value.func, "func"), items(value.args, part), pairs(value.keywords, part)]


def _read_partial(content: Any, read: Reader) -> Any:
    function, arguments, keywords = read(content[0]), read_items(content[1], read), read_pairs(content[2], read)
    if not (isinstance(function, type) or is_function(function)):
        raise TypeError(f"{function!r} is neither a class nor a function")
    return functools.partial(function, *arguments, **dict(keywords))


def _write_enum(value: enum.Enum, part: Part) -> Any:
    cls = type(value)
    if value.name in cls.__members__ and cls.__members__[value.name] is value:
        return f"{path_of(cls)}.{value.name}"
    return [path_of(cls), part(value.value, "value")]


def _read_enum(content: Any, read: Reader) -> enum.Enum:
    path, _, name = content.rpartition(".") if isinstance(content, str) else (content[0], "", "")
    cls = read.resolve(path)
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        raise CodecError(f"{path} is not an enum")
    if name:
        return cls.__members__[name]
    if not issubclass(cls, enum.Flag):
        raise CodecError(f"{path} is not a flag, whose members can be combined")
    return cls(read(content[1]))


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _write_dataclass(value: Any, part: Part) -> Any:
    absent = object()
    names = dict.fromkeys([*(field.name for field in dataclasses.fields(value)), *getattr(value, "__dict__", {})])
    fields = {name: item for name in names if (item := getattr(value, name, absent)) is not absent}
    return [path_of(type(value)), [[name, part(item, name)] for name, item in fields.items()]]


def _read_dataclass(content: Any, read: Reader) -> Any:
    cls = read.resolve(content[0])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise CodecError(f"{content[0]} is not a dataclass")
    value: Any = object.__new__(cls)  # neither __init__ nor __post_init__ runs: the fields are complete
    for name, item in content[1]:
        object.__setattr__(value, str(name), read(item))
    return value


def _is_named_tuple(value: Any) -> bool:
    return _is_named_tuple_class(type(value))


def _is_named_tuple_class(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def _read_named_tuple(content: Any, read: Reader) -> Any:
    cls = read.resolve(content[0])
    if not _is_named_tuple_class(cls):
        raise CodecError(f"{content[0]} is not a named tuple")
    items = read_items(content[1], read)
    if len(items) != len(cls._fields):
        raise CodecError(f"{content[0]} has {len(cls._fields)} fields, but {len(items)} values are written")
    return tuple.__new__(cls, items)


def _write_named_tuple(value: Any, part: Part) -> Any:
    return [path_of(type(value)), [part(item, name) for name, item in zip(value._fields, value, strict=True)]]


def _read_class(content: Any, read: Reader) -> type:
    cls = read.resolve(content)
    if not isinstance(cls, type):
        raise CodecError(f"{content} is not a class but a {type(cls).__name__}")
    return cls


def _read_function(content: Any, read: Reader) -> Any:
    function = read.resolve(content)
    if not is_function(function):
        raise CodecError(f"{content} is not a function but a {type(function).__name__}")
    return function


def _read_default(content: Any, read: Reader) -> Any:
    factory = read(content[0])
    if not (factory is None or isinstance(factory, type | functools.partial) or is_function(factory)):
        raise TypeError(f"{factory!r} is neither a class nor a function")
    return collections.defaultdict(factory, read_pairs(content[1], read))


def _is_class(value: Any) -> bool:
    return isinstance(value, type)


_BASES: tuple[type, ...] = (str, int, float, bytes, collections.OrderedDict, dict, list, tuple, set, frozenset)
"""Built-in types whose subclasses are written as the type's content, and read without their own methods."""


def _base_of(value: Any) -> Any:
    return next((base for base in _BASES if isinstance(value, base)), None)


def _write_instance(value: Any, part: Part) -> Any:
    base = _base_of(value)
    if issubclass(base, dict):
        content: Any = base(base.items(value))
    elif base in (str, bytes):
        content = base.__getitem__(value, slice(None))
    else:
        content = base.__pos__(value) if base in (int, float) else base(base.__iter__(value))
    return [path_of(type(value)), part(content), pairs(getattr(value, "__dict__", {}), part)]


def _read_instance(content: Any, read: Reader) -> Any:
    cls, inside = read.resolve(content[0]), read(content[1])
    base: Any = type(inside)
    if not (isinstance(cls, type) and base in _BASES and issubclass(cls, base)) or issubclass(cls, enum.Enum):
        raise CodecError(f"{content[0]} is no subclass of {base.__name__}")
    value: Any = base.__new__(cls, inside) if base.__hash__ is not None else base.__new__(cls)
    if issubclass(base, dict):
        for key, item in inside.items():
            base.__setitem__(value, key, item)
    elif base.__hash__ is None:
        base.__init__(value, inside)
    for name, item in read_pairs(content[2], read):
        value.__dict__[name] = item
    return value


NAMED = (
    Kind("$defaultdict", (collections.defaultdict,), _write_default, _read_default),
    Kind("$partial", (functools.partial,), _write_partial, _read_partial),
    Kind("$enum", (), _write_enum, _read_enum, lambda value: isinstance(value, enum.Enum)),
    Kind("$namedtuple", (), _write_named_tuple, _read_named_tuple, _is_named_tuple),
    Kind("$dataclass", (), _write_dataclass, _read_dataclass, _is_dataclass),
    Kind("$class", (), lambda v, part: path_of(v), _read_class, _is_class),
    Kind("$function", (), lambda v, part: path_of(v), _read_function, is_function),
    Kind("$instance", (), _write_instance, _read_instance, lambda value: _base_of(value) is not None),
)
