"""The base class of domains: the values that one hyperparameter may take.

Every domain draws from ``random.Random.random()`` alone, whose stream Python keeps stable between versions, so that a
seed gives the same trials everywhere. Values are in their written form (see `orchestrator.codec`),
ready for the journal: JSON, in which a tuple is ``{"$tuple": […]}``.
"""

from __future__ import annotations

import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, NoReturn, TypeAlias

from orchestrator import codec
from orchestrator.errors import CodecError, Problem, SpecError

Value: TypeAlias = Any
"""A value in its written form: JSON, with tags for what JSON lacks."""

GRID_LIMIT = 100_000
"""The most points of one domain in a grid."""
STEP_LIMIT = 2**53
"""The most steps of a range: beyond, floats cannot represent each."""
LAST_COORDINATE = math.nextafter(1.0, 0.0)
"""The highest value that ``random()`` may return."""


class Coordinate(random.Random):
    """A random number generator that always returns the same place in [0, 1)."""

    def __init__(self, place: float) -> None:
        self.place = place  # without the base class's seeding, which is slow and unused

    def __new__(cls, place: float) -> Coordinate:
        """Make a generator without seeding it."""
        return super().__new__(cls)

    def random(self) -> float:
        """Return the place."""
        return self.place


@dataclass(frozen=True)
class KeyProblem(Problem):
    """A problem with the key at ``path`` itself, not with its value; its position is the key's."""


def refuse(message: str, *path: str, hint: str = "") -> NoReturn:
    """Raise a SpecError of one problem at ``path``, relative to the domain."""
    raise SpecError([Problem(message, hint, path)])


def same_value(value: Value) -> str:
    """Return a text that is equal for equal values: 1 and 1.0 are one value; 1 and True, (1,) and [1] are two.

    Raises CodecError for a value without a written form.
    """
    return _text(codec.written(value))


def _text(value: Value) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(value[key])}" for key in sorted(value)) + "}"
    return json.dumps(value, allow_nan=False)


def python_number(value: Any) -> Any:
    """Return a number of another type (numpy, torch, Decimal, Fraction) as an int or float; anything else as it is."""
    if isinstance(value, Decimal | Fraction):
        is_whole = isinstance(value, Fraction) or value.is_finite()
        return int(value) if is_whole and value == int(value) else float(value)
    of_library = type(value).__module__.partition(".")[0] in ("numpy", "torch")
    if of_library and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


def is_number(value: object) -> bool:
    """Return whether ``value`` is a finite int or float; True and False are not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


@dataclass(frozen=True, kw_only=True)
class Domain(ABC):
    """The values that a hyperparameter may take, and the condition under which it exists.

    ``when`` maps other parameters to the values under which this one exists; all of its entries must hold.
    """

    kind: ClassVar[str]
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.when, Mapping):
            refuse(f"`when` must be a mapping, but got {self.when!r}", "when", hint="write `when: {other.name: value}`")
        whens = {name: _alternatives(name, values) for name, values in self.when.items()}
        object.__setattr__(self, "when", whens)
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raise SpecError for invalid arguments."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """The number of values; None if the domain is continuous."""

    @abstractmethod
    def at(self, index: int) -> Value:
        """Return the value at ``index`` in 0 … size - 1, in the order of the grid."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Value:
        """Return one value, drawn with exactly one call of ``rng.random()`` (none for a constant)."""

    @abstractmethod
    def coordinate(self, value: Value) -> float:
        """Return a place in [0, 1) for which `sample` returns this value; 0.5 for a constant.

        A discrete value has an interval of such places; the one returned is well inside it.
        """

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Return whether `sample` could have returned ``value``."""

    @abstractmethod
    def optuna_distribution(self) -> Any:
        """Return the Optuna distribution that represents this domain; None for a constant."""

    @abstractmethod
    def encode(self, value: Value) -> float | int:
        """Return a value of this domain as one of ``optuna_distribution()``."""

    @abstractmethod
    def decode(self, x: float) -> Value:
        """Return a value of ``optuna_distribution()`` as one of this domain, rounded to its steps and clipped."""

    def canonical(self, value: Value) -> Value:
        """Return the value as `sample` would have returned it: 1 for 1.0, the exact step without a rounding error."""
        return self.decode(self.encode(value))

    @abstractmethod
    def nudged(self, value: Value, factor: float) -> Value:
        """Return the value times a factor, clipped to the domain, and at least one step away from the value.

        For choices, which have no magnitude, it is the previous or next one.
        """

    @abstractmethod
    def arguments(self) -> Value:
        """Return what follows the domain's name in YAML."""

    def probes(self) -> list[Value]:
        """Return a few representative values: every choice, or the two ends of a range."""
        size = self.size
        return [self.decode(0.25), self.decode(0.75)] if size is None else [self.at(0), self.at(size - 1)]

    def grid(self) -> list[Value]:
        """Return every value, in order. Raises SpecError if there are more than ``GRID_LIMIT``, or no end."""
        size = self.size
        if size is None:
            refuse(f"a grid needs separate values, but {self.kind} is continuous", hint=self._grid_hint())
        if size > GRID_LIMIT:
            refuse(f"a grid of {size:,} values for one parameter is too large (the limit is {GRID_LIMIT:,})",
                   hint="give a larger `step`, or use searcher random or tpe")  # fmt: skip
        return [self.at(index) for index in range(size)]

    def _grid_hint(self) -> str:
        return "give it a `step`, list the values with `choice`, or use searcher random or tpe"

    def to_yaml(self) -> dict[str, Value]:
        """Return the domain as a sweep file has it: ``{"uniform": [0.0, 1.0], "step": 0.5}``."""
        text: dict[str, Value] = {self.kind: self.arguments()}
        step = getattr(self, "step", None)
        if step is not None:
            text["step"] = step
        if self.when:
            text["when"] = {name: _shortest(values) for name, values in self.when.items()}
        return text


def _alternatives(name: str, values: Value) -> tuple[Value, ...]:
    """Return the values under which a condition holds: one value, or each of a list."""
    listed = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not listed:
        refuse(f"`when` needs at least one value of {name}, but got an empty list", "when", name)
    return tuple(written(value, "when", name) for value in listed)


def _shortest(values: tuple[Value, ...]) -> Value:
    return values[0] if len(values) == 1 and not isinstance(values[0], list | tuple) else list(values)


def written(value: object, *path: str) -> Value:
    """Return the written form of a value. Raises SpecError, with the value's place, if it has none."""
    try:
        return codec.written(value)
    except CodecError as error:
        refuse(error.message, *path, hint=error.hint)
