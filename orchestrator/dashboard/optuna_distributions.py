"""A space in Optuna's words, as it is to be shown: values as people wrote them, not as searchers see them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from orchestrator.safe_text import visible
from orchestrator.space import Domain, Space
from orchestrator.space.choices import Choice, Const
from orchestrator.space.normals import LogNormal, Normal

_DEVIATIONS = 6  # a draw is never further from the mean
_SCALARS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Shown:
    """A domain as Optuna has it: ``as_text`` where some value of it is none that Optuna knows."""

    distribution: BaseDistribution
    as_text: bool = False

    def value(self, value: Any) -> Any:
        """The value as the distribution has it. Raises ValueError where it is outside."""
        found = _text(value) if self.as_text else _plain(value)
        self.distribution.to_internal_repr(found)
        return found


def shown(space: Space) -> dict[str, Shown]:
    """Each parameter's domain."""
    return {name: _shown(domain) for name, domain in space.items()}


def _shown(domain: Domain) -> Shown:
    if isinstance(domain, Choice | Const):
        values = domain.values if isinstance(domain, Choice) else (domain.value,)
        as_text = not _distinct_scalars(values)
        return Shown(CategoricalDistribution([_text(v) if as_text else _plain(v) for v in values]), as_text)
    if isinstance(domain, Normal):
        return Shown(_normal(domain))
    return Shown(domain.optuna_distribution())


def _distinct_scalars(values: tuple[Any, ...]) -> bool:
    """Whether Optuna can tell them apart: to it, 1 is true."""
    return all(isinstance(value, _SCALARS) for value in values) and len(set(values)) == len(values)


def _text(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False))


def _plain(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


def _normal(domain: Normal) -> FloatDistribution:
    low, high = (domain.mean + sign * _DEVIATIONS * domain.std for sign in (-1, 1))
    if not isinstance(domain, LogNormal):
        return FloatDistribution(low, high)
    low, high = (math.exp(min(max(end, -700.0), 700.0)) for end in (low, high))
    return FloatDistribution(low, high, log=True)
