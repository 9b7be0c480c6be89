"""What a sweep has spent, of what it may spend. A function of the journal's events, and of the times in them.

A budget of ``wall_clock`` is not among these: it ends on the clock of the process that runs the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.policies.scheduler import Verdict
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

RULE = "budget"
_BY_REPORT = frozenset({"target", "epochs"})


def amounts(spec: SweepSpec, state: SweepState) -> dict[str, float]:
    """What was spent so far: trials, epochs, seconds, and where they are known GPU-hours and cost."""
    hours, resources = state.trial_seconds / 3600, spec.resources
    found: dict[str, float] = {"trials": len(state.trials), "epochs": state.epochs, "wall_clock": state.active_seconds}
    if resources.gpus:
        found["gpu_hours"] = hours * resources.gpu_count * resources.workers
    if resources.price is not None:
        found["cost"] = hours * resources.price
    return found


def spent(spec: SweepSpec, state: SweepState) -> Verdict | None:
    """Why nothing more is to be trained, with the limit and what was spent; None while there is something left.

    The search leaves ``budget.reserve`` of epochs, GPU-hours and cost.
    """
    budget = spec.budget
    if budget.target is not None and state.lowest_loss is not None:
        loss, trial = state.lowest_loss
        if loss <= state.objective.loss(budget.target):
            return Verdict(RULE, {"target": budget.target, "value": state.objective.loss(loss), "trial": trial})
    if budget.epochs is None and budget.gpu_hours is None and budget.cost is None:
        return None
    found = amounts(spec, state)
    for key in ("epochs", "gpu_hours", "cost"):
        limit = getattr(budget, key)
        if limit is not None and found[key] >= limit * (1 - budget.reserve):
            reserve = {"reserve": budget.reserve} if budget.reserve else {}
            return Verdict(RULE, {key: limit, "spent": found[key], **reserve})
    return None


def spent_by_report(spec: SweepSpec, state: SweepState) -> Verdict | None:
    """The same for those that reports spend, and not the time between two events: they are spent at a report."""
    found = spent(spec, state)
    return found if found and key_of(found.why) in _BY_REPORT else None


def key_of(why: Mapping[str, object]) -> str:
    """Which budget a verdict by this rule is about."""
    return next(iter(why))
