"""What every domain is: the values that one hyperparameter may take.

Every domain draws from ``random.Random.random()`` alone, whose stream Python keeps stable between versions, so that a
seed means the same trials everywhere. Values are plain JSON values, ready for the journal.
"""

from __future__ import annotations

import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, TypeAlias

from orchestrator.errors import Problem, SpecError

Value: TypeAlias = Any
"""A JSON value: None, bool, int, finite float, str, list, or dict with str keys."""

GRID_LIMIT = 100_000
"""Points of one domain beyond which a grid is a mistake rather than a plan."""


STEP_LIMIT = 2**53
"""Beyond this many steps, floats have no value for each."""
LAST_COORDINATE = math.nextafter(1.0, 0.0)
"""The highest that ``random()`` may give."""


class Coordinate(random.Random):
    """A place in [0, 1) where a domain looks for a random number."""

    def __init__(self, place: float) -> None:
        self.place = place  # and no seeding, which takes long and is for nothing

    def __new__(cls, place: float) -> Coordinate:
        return super().__new__(cls)

    def random(self) -> float:
        return self.place


@dataclass(frozen=True)
class KeyProblem(Problem):
    """A problem with the key at ``path`` itself, not with its value: it is pointed at where the key stands."""


def refuse(message: str, *path: str, hint: str = "") -> NoReturn:
    """Raise a SpecError of one problem at ``path``, relative to the domain."""
    raise SpecError([Problem(message, hint, path)])


def same_value(value: Value) -> str:
    """A text that is equal for equal JSON values: 1 and 1.0 are one value, 1 and True are two.

    Raises TypeError or ValueError for what JSON cannot hold.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(same_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{same_value(value[key])}" for key in sorted(value)) + "}"
    return json.dumps(value, allow_nan=False, default=_refuse_value)


def _refuse_value(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite int or float. True and False are not numbers here."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


@dataclass(frozen=True, kw_only=True)
class Domain(ABC):
    """The values a hyperparameter may take, and (``when``) under which other values it exists.

    ``when`` maps another parameter's name to the values under which this one exists; all of its lines must hold.
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
        """Refuse arguments that make no domain, with a SpecError."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many values there are; None where there is no end to them."""

    @abstractmethod
    def at(self, index: int) -> Value:
        """The value at ``index`` in 0 … size - 1, in the order of the grid."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Value:
        """One value, drawn with exactly one call of ``rng.random()`` (none for a constant)."""

    @abstractmethod
    def coordinate(self, value: Value) -> float:
        """The inverse of ``sample``: a place in [0, 1) where it finds this value; 0.5 for a constant.

        A value of a continuum has one such place. One of separate values has many, and this is well inside them.
        """

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Whether ``sample`` could have returned ``value``."""

    @abstractmethod
    def optuna_distribution(self) -> Any:
        """The Optuna distribution to search instead of this domain; None for a constant."""

    @abstractmethod
    def encode(self, value: Value) -> float | int:
        """Our value as a value of ``optuna_distribution()``."""

    @abstractmethod
    def decode(self, x: float) -> Value:
        """A value of ``optuna_distribution()`` as ours, brought onto the steps and into the range."""

    def canonical(self, value: Value) -> Value:
        """A value of this domain as ``sample`` would have returned it: 1 for 1.0, a step for what is all but one."""
        return self.decode(self.encode(value))

    @abstractmethod
    def nudged(self, value: Value, factor: float) -> Value:
        """The value times a factor, brought into the domain; the next one on that side where there are steps between.

        Of choices, which have no size, the one before or after.
        """

    @abstractmethod
    def arguments(self) -> Value:
        """What follows the domain's name in YAML."""

    def probes(self) -> list[Value]:
        """A few values that stand for the rest: each choice, or the two ends of a range."""
        size = self.size
        return [self.decode(0.25), self.decode(0.75)] if size is None else [self.at(0), self.at(size - 1)]

    def grid(self) -> list[Value]:
        """Every value, in order. Raises SpecError where there is no end to them, or more than ``GRID_LIMIT``."""
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
        """The domain as it is written in a sweep file: ``{"uniform": [0.0, 1.0], "step": 0.5}``."""
        text: dict[str, Value] = {self.kind: self.arguments()}
        step = getattr(self, "step", None)
        if step is not None:
            text["step"] = step
        if self.when:
            text["when"] = {name: _shortest(values) for name, values in self.when.items()}
        return text


def _alternatives(name: str, values: Value) -> tuple[Value, ...]:
    """The values under which a condition holds: one value, or each of a list."""
    listed = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not listed:
        refuse(f"`when` needs at least one value of {name}, but got an empty list", "when", name)
    for value in listed:
        refuse_objects(value, "when", name)
    return listed


def _shortest(values: tuple[Value, ...]) -> Value:
    return values[0] if len(values) == 1 and not isinstance(values[0], list | tuple) else list(values)


def refuse_objects(value: Value, *path: str) -> None:
    try:
        same_value(value)
    except (TypeError, ValueError):
        refuse(f"values must be plain and finite (numbers, text, true/false, null, lists, mappings), but got {value!r}",
               *path, hint="a class is swept by its arguments or its class_path, never as an object")  # fmt: skip
