"""The markers of `tests.support.tiers` for values of parameters."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

SLOW_RAY = [pytest.mark.slow, pytest.mark.ray]


def sampled(values: Iterable[T], slow: Container[T]) -> list[Any]:
    """Return the values of a parameter, those in ``slow`` marked so."""
    return [pytest.param(value, marks=pytest.mark.slow) if value in slow else value for value in values]
