"""The markers of `tests.support.tiers` for values of parameters, and the number of examples of a property."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

IN_FULL = bool(os.environ.get("TEST_FULL"))
"""Whether ``make test-full`` runs: with more examples, and other ones each time."""
SLOW_RAY = [pytest.mark.slow, pytest.mark.ray]


def sampled(values: Iterable[T], slow: Container[T]) -> list[Any]:
    """Return the values of a parameter, those in ``slow`` marked so."""
    return [pytest.param(value, marks=pytest.mark.slow) if value in slow else value for value in values]


def examples(count: int) -> int:
    """Return how many examples Hypothesis draws: ``count`` in ``make test``, five times as many in ``test-full``."""
    return count * 5 if IN_FULL else count
