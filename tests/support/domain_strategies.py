"""Hypothesis strategies for domains."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.space import (
    Domain,
    choice,
    const,
    integer,
    log_int,
    log_normal,
    log_uniform,
    normal,
    uniform,
)

finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


positive = st.floats(1e-6, 1e6).map(lambda x: max(round(x, 6), 1e-6))


leaves = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | finite | st.text(max_size=8)


values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3))


@st.composite
def ranges(draw: Any, numbers: Any, steps: Any) -> tuple[Any, Any, Any]:
    low, high = sorted((draw(numbers), draw(numbers)))
    step = draw(st.none() | steps)
    assume(step is None or (step <= high - low and (high - low) / step < 10_000))
    return low, high, step


@st.composite
def domains(draw: Any) -> Domain:
    kind = draw(
        st.sampled_from(["uniform", "log_uniform", "int", "log_int", "choice", "normal", "log_normal", "const"])
    )
    if kind == "uniform":
        return uniform(*draw(ranges(finite, positive)))
    if kind == "log_uniform":
        return log_uniform(*draw(ranges(positive, positive)))
    if kind in ("int", "log_int"):
        lowest = 1 if kind == "log_int" else -1000
        return (log_int if kind == "log_int" else integer)(*draw(ranges(st.integers(lowest, 1000), st.integers(1, 50))))
    if kind == "normal":
        return normal(draw(finite), draw(positive), draw(st.none() | st.floats(0.01, 5).map(lambda x: round(x, 2))))
    if kind == "log_normal":
        return log_normal(draw(st.floats(-5, 5)), draw(st.floats(0.01, 2)), draw(st.none() | st.just(0.25)))
    if kind == "const":
        return const(draw(values))
    picked = draw(st.lists(values, min_size=1, max_size=5, unique_by=lambda v: json.dumps(v, sort_keys=True)))
    try:
        return choice(picked)
    except SpecError:  # 1 and 1.0 are one value
        assume(False)
        raise
