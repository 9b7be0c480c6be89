"""Check a budget against the rest of the sweep file."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem
from orchestrator.progress import UNITS
from orchestrator.space import KeyProblem
from orchestrator.spec.parts import Budget, Resources

UNBOUNDED = frozenset({"target", "reserve"})
"""Keys of a budget that do not bound a sweep."""
RESERVED = (*UNITS, "gpu_hours", "cost")
"""Keys of which ``reserve`` keeps a share."""


def budget_problems(budget: Budget, resources: Resources) -> Iterator[Problem]:
    """Yield limits on amounts that the sweep does not count."""
    if budget.gpu_hours is not None and not resources.gpus:
        message = "budget.gpu_hours limits nothing: a trial gets no GPU"
        yield KeyProblem(message, "specify them: resources: {gpus: 1}", ("budget", "gpu_hours"))
    if budget.cost is not None and resources.price is None:
        message = "budget.cost limits nothing: an hour of a trial has no price"
        yield KeyProblem(message, "specify it: resources: {price: 2.5}", ("budget", "cost"))
    if budget.reserve and all(getattr(budget, key) is None for key in RESERVED):
        message = (
            f"budget.reserve is a share of {', '.join(RESERVED[:-1])} or {RESERVED[-1]}, and none of them is limited"
        )
        yield KeyProblem(message, "e.g. epochs: 500", ("budget", "reserve"))
