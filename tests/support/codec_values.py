"""Random values of every kind that the codec knows, and their comparison by type and content."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import json
import math
import pathlib
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn


class Colour(enum.Enum):
    RED = "r"
    BLUE = (1, 2)


class Mode(enum.StrEnum):
    FAST = "fast"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Counted:
    """Its `__post_init__` must not run again when a value is read."""

    items: Any
    made: int = 0

    def __post_init__(self) -> None:
        self.made += 1
        self.extra = "set later"


class Pair(NamedTuple):
    left: Any
    right: Any


class Word(str):
    """A text with a method of its own, which must not run when a value is read."""

    def __new__(cls, *args: Any) -> Word:
        if len(args) != 2:
            raise AssertionError("called by the codec")
        return super().__new__(cls, "".join(args))


class Loose(dict[str, Any]):
    """A mapping with attributes, as Lightning's AttributeDict is."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.note = "kept"

    def __setitem__(self, key: str, item: Any) -> None:
        raise AssertionError("called by the codec")


class Ordered(collections.OrderedDict[str, Any]):
    """An ordered mapping of a class of its own."""


class Stack(list[Any]):
    """A list of a class of its own."""


class Whole(int):
    """A whole number of a class of its own."""


def double(x: float) -> float:
    return 2 * x


_TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
_NUMPY = st.sampled_from(
    [
        *(np.float64(x) for x in (0.1, -0.0, math.nan, math.inf)),
        np.float32(0.1), np.float16(0.5), np.int64(-3), np.uint8(200), np.bool_(True), np.complex64(1 + 2j),
        np.str_("a"), np.datetime64("2024-01-02T03:04"), np.timedelta64(5, "s"), np.longdouble("0.1"),
        np.arange(6).reshape(2, 3), np.zeros((0, 3), np.float32), np.array([0.1, np.nan]), np.array(["a", "bc"]),
        np.array(3.5), np.array([1, "x", None, (1, 2)], dtype=object), np.ones(300), np.array([True, False]),
        np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8", (2,))]), np.dtype("float32"), np.dtype(">i2"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ]
)  # fmt: skip
_TORCH = st.sampled_from(
    [torch.float32, torch.bfloat16, torch.device("cpu"), torch.device("cuda:1"), torch.Size([2, 3]),
     torch.tensor([0.1, 2.0]), torch.tensor(3), torch.zeros(0, 2, dtype=torch.bfloat16), torch.tensor([True]),
     torch.arange(6).reshape(2, 3).T]
)  # fmt: skip
_NAMED = st.sampled_from(
    [Colour.RED, Colour.BLUE, Mode.FAST, Rights.READ, Rights.READ | Rights.WRITE, nn.ReLU, Point, dict, double, len,
     math.sqrt, np.cos, torch.relu, torch.nn.functional.gelu, dict.fromkeys, functools.partial(double, x=1.0),
     functools.partial(nn.Linear, 3, bias=False)]
)  # fmt: skip
_SUBCLASSES = st.sampled_from(
    [Word("a", "b"), Loose(a=1, b=(2,)), Ordered(x=1), Stack([1, (2,)]), Whole(3), types.SimpleNamespace(a=(1,)),
     torch.torch_version.TorchVersion("2.1")]
)  # fmt: skip
_STANDARD = st.sampled_from(
    [pathlib.Path("a/b"), pathlib.PurePosixPath("c"), pathlib.PureWindowsPath("C:/d"), Decimal("0.10"),
     Fraction(1, 3), range(1, 9, 2), slice(1, None), bytearray(b"ab"),
     datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC), datetime.datetime(2024, 1, 2, fold=1),
     datetime.date(2024, 1, 2), datetime.time(3, 4), datetime.timedelta(days=-1, microseconds=5)]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.binary(max_size=6) | st.complex_numbers()
    | _NUMPY | _TORCH | _NAMED | _STANDARD | _SUBCLASSES
)  # fmt: skip
PLAIN_KEYS = st.one_of(
    _TEXT.filter(lambda key: key != "class_path" and not key.startswith("$")),
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False), st.tuples(st.integers(), _TEXT),
    st.sampled_from(["1", Colour.RED, np.int64(3), pathlib.Path("k")]),
)  # fmt: skip
KEYS = PLAIN_KEYS | st.sampled_from(["$tuple", "$x", "class_path"])
"""Of any mapping; those that are not plain may make it stand for something else in a sweep file."""


def values(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of values whose mappings have these keys."""

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=3)
        mappings = st.dictionaries(keys, inner, max_size=3)
        return st.one_of(
            lists,
            lists.map(tuple),
            mappings,
            mappings.map(collections.OrderedDict),
            mappings.map(lambda items: collections.defaultdict(list, items)),
            st.builds(collections.deque, lists, st.sampled_from([None, 3])),
            st.builds(Point, inner, inner),
            st.builds(Counted, inner),
            st.builds(Pair, inner, inner),
            st.sets(keys, max_size=3),
            st.frozensets(keys, max_size=3),
            st.lists(_TEXT, max_size=4).map(collections.Counter),
        )

    return st.recursive(LEAVES, nested, max_leaves=8)


VALUES = values(KEYS)
PLAIN_VALUES = values(PLAIN_KEYS)


def same(a: Any, b: Any) -> bool:
    """Return whether two values have the same type and content, all their parts included; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        arrays = np.asarray(a), np.asarray(b)
        if a.dtype == object:
            return a.shape == b.shape and all(map(same, a.flat, b.flat))
        return bool(arrays[0].dtype == arrays[1].dtype and arrays[0].shape == arrays[1].shape) and (
            arrays[0].tobytes() == arrays[1].tobytes()
        )
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, complex):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        if getattr(a, "default_factory", None) is not getattr(b, "default_factory", None):
            return False
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple | collections.deque):
        limits = getattr(a, "maxlen", None) == getattr(b, "maxlen", None)
        return limits and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set | frozenset):
        return a == b and sorted(map(_shown, a)) == sorted(map(_shown, b))
    if isinstance(a, functools.partial):
        return same([a.func, a.args, a.keywords], [b.func, b.args, b.keywords])
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return same(vars(a), vars(b))
    return bool(a == b)


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def through_json(value: Any) -> Any:
    """Return the value after its text has been written and read, as strict JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


class Holder:
    """An argument of a user's class, of any kind."""

    def __init__(self, value: Any = None, dims=(16, 16), folder=pathlib.Path("a"), colour=Colour.RED) -> None:  # type: ignore[no-untyped-def]
        self.value, self.dims, self.folder, self.colour = value, dims, folder, colour


class Typed:
    """Arguments with annotations."""

    def __init__(
        self, rate: float = 0.1, width: int = 1, act: type[nn.Module] = nn.ReLU, dims: tuple[int, ...] = (1,),
        norm: Callable[..., nn.Module] = nn.LayerNorm, mode: Mode = Mode.FAST, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})
