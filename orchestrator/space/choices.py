"""Discrete domains: a choice among values, or one constant."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import CodecError
from orchestrator.space.domain import Domain, Value, refuse, same_value, written


@dataclass(frozen=True)
class Choice(Domain):
    """One of ``values``, each as likely as any other."""

    kind = "choice"
    values: tuple[Value, ...] = field(hash=False)

    def _check(self) -> None:
        if not self.values:
            refuse("`choice` needs at least one value, but got an empty list", self.kind, hint="{choice: [64, 128]}")
        seen: set[str] = set()
        object.__setattr__(self, "values", tuple(written(value, self.kind) for value in self.values))
        for value in self.values:
            if same_value(value) in seen:
                refuse(f"choices must differ, but {value!r} is listed twice", self.kind, hint="list each value once")
            seen.add(same_value(value))

    @property
    def size(self) -> int:
        """See `Domain.size`."""
        return len(self.values)

    def at(self, index: int) -> Value:
        """See `Domain.at`."""
        return copy.deepcopy(self.values[index])

    def sample(self, rng: random.Random) -> Value:
        """See `Domain.sample`."""
        return self.at(int(rng.random() * len(self.values)))

    def coordinate(self, value: Value) -> float:
        """See `Domain.coordinate`."""
        return (self.encode(value) + 0.5) / len(self.values)

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        return self._index(value) is not None

    def _index(self, value: Value) -> int | None:
        try:
            key = same_value(value)
        except CodecError:
            return None
        return next((index for index, choice in enumerate(self.values) if same_value(choice) == key), None)

    def optuna_distribution(self) -> Any:
        """See `Domain.optuna_distribution`."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(tuple(range(len(self.values))))

    def encode(self, value: Value) -> int:
        """See `Domain.encode`."""
        index = self._index(value)
        if index is None:
            raise ValueError(f"{value!r} is not one of {list(self.values)!r}")
        return index

    def decode(self, x: float) -> Value:
        """See `Domain.decode`."""
        return self.at(int(x))

    def nudged(self, value: Value, factor: float) -> Value:
        """See `Domain.nudged`."""
        return self.at(min(max(self.encode(value) + (1 if factor > 1 else -1), 0), self.size - 1))

    def probes(self) -> list[Value]:
        """See `Domain.probes`."""
        return self.grid()

    def arguments(self) -> Value:
        """See `Domain.arguments`."""
        return copy.deepcopy(list(self.values))


@dataclass(frozen=True)
class Const(Domain):
    """One fixed value, recorded in every trial's parameters."""

    kind = "const"
    value: Value = field(hash=False)

    def _check(self) -> None:
        object.__setattr__(self, "value", written(self.value, self.kind))

    @property
    def size(self) -> int:
        """See `Domain.size`."""
        return 1

    def at(self, index: int) -> Value:
        """See `Domain.at`."""
        return copy.deepcopy(self.value)

    def sample(self, rng: random.Random) -> Value:
        """See `Domain.sample`."""
        return self.at(0)

    def coordinate(self, value: Value) -> float:
        """See `Domain.coordinate`."""
        return 0.5

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        return Choice((self.value,)).contains(value)

    def optuna_distribution(self) -> None:
        """Return None: there is nothing to search."""

    def encode(self, value: Value) -> int:
        """See `Domain.encode`."""
        return 0

    def decode(self, x: float) -> Value:
        """See `Domain.decode`."""
        return self.at(0)

    def nudged(self, value: Value, factor: float) -> Value:
        """See `Domain.nudged`."""
        return self.at(0)

    def probes(self) -> list[Value]:
        """See `Domain.probes`."""
        return [self.at(0)]

    def arguments(self) -> Value:
        """See `Domain.arguments`."""
        return self.at(0)
