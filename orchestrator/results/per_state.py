"""Compute something of a sweep once, though several figures or pages need it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from orchestrator.state import SweepState, Trial

_Result = TypeVar("_Result")


def once_per_state(compute: Callable[[SweepState], _Result]) -> Callable[[SweepState], _Result]:
    """Return ``compute``, which then runs again for a state only after that has changed."""
    cache: WeakKeyDictionary[SweepState, tuple[int, str, _Result]] = WeakKeyDictionary()

    @functools.wraps(compute)
    def cached(state: SweepState) -> _Result:
        known = cache.get(state)
        if known is None or known[:2] != (state.seq, state.status):
            known = cache[state] = (state.seq, state.status, compute(state))
        return known[2]

    return cached


@once_per_state
def best_trial(state: SweepState) -> Trial | None:
    """Return `SweepState.winner`, for which all trials are ranked, computed once."""
    return state.winner()
