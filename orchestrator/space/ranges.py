"""Ranges of floats and integers, uniform or logarithmic, with or without steps."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from orchestrator.space.domain import LAST_COORDINATE, STEP_LIMIT, Domain, Value, is_number, refuse


@dataclass(frozen=True)
class _Range(Domain):
    """From ``low`` to ``high``, both ends included; with ``step``, only low, low + step and so on."""

    low: float
    high: float
    step: float | None = None
    logarithmic: ClassVar[bool] = False

    def _check(self) -> None:
        low, high, step = self.low, self.high, self.step
        if not low <= high:
            refuse(f"`low <= high` must hold, but got (low={low}, high={high})", self.kind, hint="swap the two ends")
        if self.logarithmic and not low > 0:
            refuse(f"`low > 0` must hold, since {self.kind} takes a logarithm, but got (low={low}, high={high})",
                   self.kind, hint=self._log_hint())  # fmt: skip
        if step is not None and not step > 0:
            refuse(f"`step > 0` must hold, but got step={step}", "step", hint="leave `step` out for no steps")
        if step is not None and low < high and step > high - low:
            refuse(f"`step <= high - low` must hold, but got (low={low}, high={high}, step={step})", "step",
                   hint="with so large a step there is one value only; use `const` for that")  # fmt: skip

        self._check_width()

    def _check_width(self) -> None:
        """Raise SpecError for an infinite width, or for more steps than floats can distinguish."""
        if not is_number(self.high - self.low):
            refuse(f"`high - low` must be finite, but got (low={self.low}, high={self.high})", self.kind,
                   hint="bring the two ends nearer together")  # fmt: skip
        if self.step is not None and (self.high - self.low) / self.step > STEP_LIMIT:
            refuse(f"a range has at most 2**53 steps, but got (low={self.low}, high={self.high}, step={self.step})",
                   "step", hint="take a larger step, or leave `step` out")  # fmt: skip

    def _log_hint(self) -> str:
        return f"start at a small positive number such as 1e-6, or use {self.kind.removeprefix('log_')}"

    @property
    def size(self) -> int | None:
        """See `Domain.size`."""
        if self.low == self.high:
            return 1
        return None if self.step is None else self._steps(self.step)

    def _steps(self, step: float) -> int:
        return int((Decimal(repr(self.high)) - Decimal(repr(self.low))) // Decimal(repr(step))) + 1

    def at(self, index: int) -> Value:
        """See `Domain.at`."""
        # decimals, so that [0, 0.5] by 0.05 holds 0.15 and not 0.15000000000000002
        return float(Decimal(repr(self.low)) + index * Decimal(repr(self.step or 0.0)))

    def decode(self, x: float) -> Value:
        """See `Domain.decode`."""
        if self.size is None:
            return min(max(float(x), self.low), self.high)
        return self.at(self._nearest(x))

    def _nearest(self, x: float) -> int:
        return min(max(round((x - self.low) / (self.step or 1)), 0), (self.size or 1) - 1)

    def nudged(self, value: Value, factor: float) -> Value:
        """See `Domain.nudged`."""
        nudged = self.decode(value * factor)
        if nudged != value or self.size is None:
            return nudged
        up = (factor > 1) == (value >= 0)
        return self.at(min(max(self._nearest(value) + (1 if up else -1), 0), self.size - 1))

    def encode(self, value: Value) -> float | int:
        """See `Domain.encode`."""
        return float(value)

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return self.size is None or math.isclose(self.decode(value), value, rel_tol=1e-9, abs_tol=1e-12)

    def probes(self) -> list[Value]:
        """See `Domain.probes`."""
        return [self.decode(self.low), self.decode(self.high)]

    def arguments(self) -> Value:
        """See `Domain.arguments`."""
        return [self.low, self.high]

    def optuna_distribution(self) -> Any:
        """See `Domain.optuna_distribution`."""
        from optuna.distributions import FloatDistribution

        if self.step is None or self.logarithmic:  # Optuna has no logarithm with steps: `decode` brings x onto them
            return FloatDistribution(self.low, self.high, log=self.logarithmic)
        return FloatDistribution(self.low, self.at((self.size or 1) - 1), step=self.step)

    def sample(self, rng: random.Random) -> Value:
        """See `Domain.sample`."""
        u, size = rng.random(), self.size
        if self.logarithmic:
            return self.decode(math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low))))
        return self.decode(self.low + u * (self.high - self.low)) if size is None else self.at(int(u * size))

    def coordinate(self, value: Value) -> float:
        """See `Domain.coordinate`."""
        size = self.size
        if self.low == self.high:
            return 0.5
        if self.logarithmic:
            place = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            place = (value - self.low) / (self.high - self.low) if size is None else (self._nearest(value) + 0.5) / size
        return min(max(place, 0.0), LAST_COORDINATE)


@dataclass(frozen=True)
class Uniform(_Range):
    """A float, every value as likely as any other."""

    kind = "uniform"


@dataclass(frozen=True)
class LogUniform(_Range):
    """A float, every order of magnitude as likely as any other."""

    kind = "log_uniform"
    logarithmic = True


@dataclass(frozen=True)
class Int(_Range):
    """An integer, every value as likely as any other."""

    kind = "int"
    low: int
    high: int
    step: int | None = None

    def _check_width(self) -> None:
        if max(abs(self.low), abs(self.high), self.step or 0) > STEP_LIMIT:
            refuse(f"integers are searched up to 2**53, but got (low={self.low}, high={self.high})", self.kind,
                   hint="a seed or an id is better a `choice`")  # fmt: skip

    def _steps(self, step: float) -> int:
        return int((self.high - self.low) // step) + 1

    @property
    def size(self) -> int:
        """See `Domain.size`."""
        return self._steps(self.step or 1)

    def at(self, index: int) -> int:
        """See `Domain.at`."""
        return self.low + index * (self.step or 1)

    def encode(self, value: Value) -> int:
        """See `Domain.encode`."""
        return int(value)

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        return isinstance(value, int) and super().contains(value)

    def optuna_distribution(self) -> Any:
        """See `Domain.optuna_distribution`."""
        from optuna.distributions import IntDistribution

        if self.logarithmic:
            return IntDistribution(self.low, self.high, log=True)
        return IntDistribution(self.low, self.at(self.size - 1), step=self.step or 1)


@dataclass(frozen=True)
class LogInt(Int):
    """An integer, every order of magnitude as likely as any other."""

    kind = "log_int"
    logarithmic = True

    def sample(self, rng: random.Random) -> Value:
        """See `Domain.sample`."""
        # half a step beyond both ends, so that the ends are as likely as their neighbours (as Optuna does)
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return self.decode(math.exp(low + rng.random() * (high - low)))

    def coordinate(self, value: Value) -> float:
        """See `Domain.coordinate`."""
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return (math.log(value) - low) / (high - low)
