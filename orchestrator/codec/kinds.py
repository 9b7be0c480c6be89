"""The kinds of values of the standard library that have a tag: one entry a type."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import math
import pathlib
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

Part = Callable[..., Any]
"""Writes a part of a value: ``part(value, *keys)``, where the keys lead to it from the value."""


class Reader(Protocol):
    """Reads the parts of a written value."""

    def __call__(self, value: Any) -> Any:
        """Return the part as it was before it was written."""

    def resolve(self, path: Any) -> Any:
        """Return the object at an import path, if the caller allows it."""


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes:
        tag: the key of its written form.
        types: the exact types it is for.
        write: makes the content under the tag, of a value and a function that writes parts.
        read: makes the value of a content and a reader of parts.
        test: for kinds without a fixed type: whether a value is of this kind.
    """

    tag: str
    types: tuple[type, ...]
    write: Callable[[Any, Part], Any]
    read: Callable[[Any, Reader], Any]
    test: Callable[[Any], bool] | None = None


def items(values: Iterable[Any], part: Part) -> list[Any]:
    """Write each item of a sequence."""
    return [part(item, index) for index, item in enumerate(values)]


def read_items(content: Any, read: Reader) -> list[Any]:
    """Read what `items` wrote. Raises TypeError if it is no list."""
    if not isinstance(content, list):
        raise TypeError(f"expected a list, but got {content!r}")
    return [read(item) for item in content]


def pairs(value: Any, part: Part) -> list[Any]:
    """Write the keys and values of a mapping, whose keys may be of any type."""
    return [[part(key, f"key {key!r}"), part(item, key)] for key, item in value.items()]


def read_pairs(content: Any, read: Reader) -> list[tuple[Any, Any]]:
    """Read what `pairs` wrote."""
    return [(read(key), read(item)) for key, item in content]


def _unordered(value: Any, part: Part) -> list[Any]:
    """Return the items in an order that does not depend on hashes, which differ between processes."""
    return sorted((part(item, repr(item)) for item in value), key=repr)


def _write_float(value: float, part: Part) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _read_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else base64.b64decode(content, validate=True)


def _write_deque(value: collections.deque[Any], part: Part) -> Any:
    return [items(value, part), value.maxlen]


def _write_datetime(value: Any, part: Part) -> Any:
    return [value.replace(tzinfo=None).isoformat(), part(value.tzinfo, "tzinfo"), value.fold]


def _read_datetime(cls: Any) -> Callable[[Any, Reader], Any]:
    return lambda content, read: cls.fromisoformat(content[0]).replace(tzinfo=read(content[1]), fold=content[2])


def _write_zone(value: datetime.timezone, part: Part) -> Any:
    offset = value.utcoffset(None)
    name = value.tzname(None)
    return [part(offset), None if datetime.timezone(offset).tzname(None) == name else name]


def _read_zone(content: Any, read: Reader) -> datetime.timezone:
    offset, name = read(content[0]), content[1]
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _write_zone_info(value: zoneinfo.ZoneInfo, part: Part) -> str:
    if value.key is None:
        raise ValueError("a time zone without a name has no plain form")
    return value.key


def _read_pure_path(content: Any, read: Reader) -> pathlib.PurePath:
    classes = {"PurePosixPath": pathlib.PurePosixPath, "PureWindowsPath": pathlib.PureWindowsPath}
    return classes[content[0]](content[1])


KINDS = (
    Kind("$float", (float,), _write_float, lambda content, read: float(content)),
    Kind(
        "$complex",
        (complex,),
        lambda v, part: [part(v.real), part(v.imag)],
        lambda c, read: complex(read(c[0]), read(c[1])),
    ),
    Kind("$bytes", (bytes,), lambda v, part: base64.b64encode(v).decode(), lambda c, read: _read_bytes(c)),
    Kind(
        "$bytearray",
        (bytearray,),
        lambda v, part: base64.b64encode(v).decode(),
        lambda c, read: bytearray(_read_bytes(c)),
    ),
    Kind("$list", (list,), items, read_items),
    Kind("$tuple", (tuple,), items, lambda c, read: tuple(read_items(c, read))),
    Kind("$set", (set,), _unordered, lambda c, read: set(read_items(c, read))),
    Kind("$frozenset", (frozenset,), _unordered, lambda c, read: frozenset(read_items(c, read))),
    Kind(
        "$deque",
        (collections.deque,),
        _write_deque,
        lambda c, read: collections.deque(read_items(c[0], read), maxlen=c[1]),
    ),
    Kind("$dict", (dict,), pairs, lambda c, read: dict(read_pairs(c, read))),
    Kind(
        "$ordereddict",
        (collections.OrderedDict,),
        pairs,
        lambda c, read: collections.OrderedDict(read_pairs(c, read)),
    ),
    Kind(
        "$counter",
        (collections.Counter,),
        pairs,
        lambda c, read: collections.Counter(dict(read_pairs(c, read))),
    ),
    Kind(
        "$path",
        (pathlib.PosixPath, pathlib.WindowsPath),
        lambda v, part: str(v),
        lambda c, read: pathlib.Path(c),
    ),
    Kind(
        "$purepath",
        (pathlib.PurePosixPath, pathlib.PureWindowsPath),
        lambda v, part: [type(v).__name__, str(v)],
        _read_pure_path,
    ),
    Kind(
        "$namespace",
        (types.SimpleNamespace,),
        lambda v, part: pairs(vars(v), part),
        lambda c, read: types.SimpleNamespace(**dict(read_pairs(c, read))),
    ),
    Kind("$datetime", (datetime.datetime,), _write_datetime, _read_datetime(datetime.datetime)),
    Kind("$time", (datetime.time,), _write_datetime, _read_datetime(datetime.time)),
    Kind(
        "$date",
        (datetime.date,),
        lambda v, part: v.isoformat(),
        lambda c, read: datetime.date.fromisoformat(c),
    ),
    Kind(
        "$timedelta",
        (datetime.timedelta,),
        lambda v, part: [v.days, v.seconds, v.microseconds],
        lambda c, read: datetime.timedelta(*c),
    ),
    Kind("$timezone", (datetime.timezone,), _write_zone, _read_zone),
    Kind("$zoneinfo", (zoneinfo.ZoneInfo,), _write_zone_info, lambda c, read: zoneinfo.ZoneInfo(c)),
    Kind("$decimal", (decimal.Decimal,), lambda v, part: str(v), lambda c, read: decimal.Decimal(c)),
    Kind(
        "$fraction",
        (fractions.Fraction,),
        lambda v, part: [v.numerator, v.denominator],
        lambda c, read: fractions.Fraction(*c),
    ),
    Kind("$uuid", (uuid.UUID,), lambda v, part: str(v), lambda c, read: uuid.UUID(c)),
    Kind("$range", (range,), lambda v, part: [v.start, v.stop, v.step], lambda c, read: range(*c)),
    Kind(
        "$slice",
        (slice,),
        lambda v, part: items((v.start, v.stop, v.step), part),
        lambda c, read: slice(*map(read, c)),
    ),
)  # fmt: skip
