"""Compare what was derived again with what the journal holds: other machines and libraries round differently."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

TOLERANCE = 1e-6
"""Relative. Rounding differs by some 1e-16 an operation; a search adds up to thousands of these."""


def nearly_equal(derived: Any, recorded: Any) -> bool:
    """Return whether two JSON-like values are equal, numbers to six digits."""
    if isinstance(derived, Mapping) and isinstance(recorded, Mapping):
        return derived.keys() == recorded.keys() and all(nearly_equal(derived[key], recorded[key]) for key in derived)
    if isinstance(derived, list | tuple) and isinstance(recorded, list | tuple):
        return len(derived) == len(recorded) and all(map(nearly_equal, derived, recorded))
    if isinstance(derived, float) and isinstance(recorded, float):
        return math.isclose(derived, recorded, rel_tol=TOLERANCE, abs_tol=1e-12)
    return bool(derived == recorded)
