"""Normal and log-normal domains, searched by their quantile."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any

from orchestrator.space.domain import STEP_LIMIT, Domain, Value, is_number, refuse

_DEVIATIONS = 6
_QUANTILE_EDGE = 1e-9  # keeps draws within six standard deviations, where cdf and its inverse still agree


@dataclass(frozen=True)
class Normal(Domain):
    """A float around ``mean`` with standard deviation ``std``; with ``step``, a multiple of it.

    Multiples of an integer are integers.
    """

    kind = "normal"
    mean: float
    std: float
    step: float | None = None

    def _check(self) -> None:
        if not self.std > 0:
            refuse(f"`std > 0` must hold, but got (mean={self.mean}, std={self.std})", self.kind,
                   hint="use `const` for a value that does not vary")  # fmt: skip
        if self.step is not None and not self.step > 0:
            refuse(f"`step > 0` must hold, but got step={self.step}", "step", hint="leave `step` out for no steps")
        furthest = abs(self.mean) + _DEVIATIONS * self.std
        if not math.isfinite(furthest):
            refuse(f"draws must be finite, but got (mean={self.mean}, std={self.std})", self.kind,
                   hint="choose a smaller mean or standard deviation")  # fmt: skip
        if self.step is not None and self._value(furthest) / self.step > STEP_LIMIT:
            refuse(f"there are more than 2**53 steps, but got (mean={self.mean}, std={self.std}, step={self.step})",
                   "step", hint="take a larger step, or leave `step` out")  # fmt: skip

    def _value(self, x: float) -> float:
        """Return the domain's value for a draw of the normal distribution."""
        return x

    @property
    def size(self) -> None:
        """See `Domain.size`."""
        return None

    def at(self, index: int) -> Value:
        """See `Domain.at`."""
        raise IndexError(index)

    def sample(self, rng: random.Random) -> Value:
        """See `Domain.sample`."""
        return self.decode(rng.random())

    def coordinate(self, value: Value) -> float:
        """See `Domain.coordinate`."""
        return self.encode(value)

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        return is_number(value) and math.isclose(self._stepped(value), value, rel_tol=1e-9, abs_tol=1e-12)

    def optuna_distribution(self) -> Any:
        """See `Domain.optuna_distribution`."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(0.0, 1.0)

    def encode(self, value: Value) -> float:
        """See `Domain.encode`."""
        return _inside(NormalDist(self.mean, self.std).cdf(value))

    def decode(self, x: float) -> Value:
        """See `Domain.decode`."""
        return self._stepped(self._value(NormalDist(self.mean, self.std).inv_cdf(_inside(x))))

    def nudged(self, value: Value, factor: float) -> Value:
        """See `Domain.nudged`."""
        return self.decode(self.encode(value * factor))

    def canonical(self, value: Value) -> float:
        """See `Domain.canonical`."""
        return self._stepped(value)  # not by way of the quantile, which rounds

    def _stepped(self, value: float) -> float:
        if self.step is None:
            return float(value)
        multiple = round(value / self.step)
        return multiple * self.step if isinstance(self.step, int) else float(multiple * Decimal(repr(self.step)))

    def arguments(self) -> Value:
        """See `Domain.arguments`."""
        return [self.mean, self.std]

    def _grid_hint(self) -> str:
        return "list the values with `choice`, or use searcher random or tpe"


def _inside(quantile: float) -> float:
    return min(max(quantile, _QUANTILE_EDGE), 1 - _QUANTILE_EDGE)


@dataclass(frozen=True)
class LogNormal(Normal):
    """A positive float whose natural logarithm is normal; with ``step``, a multiple of it, at least one step."""

    kind = "log_normal"

    def contains(self, value: Value) -> bool:
        """See `Domain.contains`."""
        return super().contains(value) and value > 0

    def encode(self, value: Value) -> float:
        """See `Domain.encode`."""
        return super().encode(math.log(value))

    def _value(self, x: float) -> float:
        return math.exp(min(max(x, -700.0), 700.0))  # exp overflows at 709.8, and is zero at -745.2

    def _stepped(self, value: float) -> float:
        return float(value) if self.step is None else max(super()._stepped(value), self.step)
