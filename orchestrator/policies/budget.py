"""What a sweep has spent of its budget: a function of the journal's events and their times.

``budget.wall_clock`` is not checked here: it ends on the clock of the process that runs the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.policies.scheduler import Verdict
from orchestrator.progress import UNITS
from orchestrator.spec import SweepSpec
from orchestrator.spec.budget_checks import RESERVED
from orchestrator.state import SweepState

RULE = "budget"
_BY_REPORT = frozenset({"target", *UNITS})


def amounts(spec: SweepSpec, state: SweepState) -> dict[str, float]:
    """Return what was spent: trials, epochs, time, what is limited in other units; if known GPU-hours and cost."""
    hours, resources = state.trial_seconds / 3600, spec.resources
    spent: dict[str, float] = {"trials": len(state.trials), "epochs": state.epochs, "wall_clock": state.active_seconds}
    spent |= {unit: state.trained[unit] for unit in UNITS if getattr(spec.budget, unit) is not None}
    if resources.gpus and not resources.is_fitted:
        spent["gpu_hours"] = hours * resources.gpu_count * resources.workers
    if resources.price is not None:
        spent["cost"] = hours * resources.price
    return spent


def spent(spec: SweepSpec, state: SweepState) -> Verdict | None:
    """Return the verdict of an exhausted budget, with the limit and what was spent; None while some is left.

    The search leaves ``budget.reserve`` of what is trained, of GPU-hours and of cost.
    """
    budget = spec.budget
    if budget.target is not None and state.lowest_loss is not None:
        loss, trial = state.lowest_loss
        if loss <= state.objective.loss(budget.target):
            return Verdict(RULE, {"target": budget.target, "value": state.objective.loss(loss), "trial": trial})
    if all(getattr(budget, key) is None for key in RESERVED):
        return None
    used = amounts(spec, state)
    for key in RESERVED:
        limit = getattr(budget, key)
        if limit is not None and used[key] >= limit * (1 - budget.reserve):
            reserve = {"reserve": budget.reserve} if budget.reserve else {}
            return Verdict(RULE, {key: limit, "spent": used[key], **reserve})
    return None


def spent_by_report(spec: SweepSpec, state: SweepState) -> Verdict | None:
    """Return the same for the budgets that reports spend, rather than the time between two events."""
    verdict = spent(spec, state)
    return verdict if verdict and key_of(verdict.why) in _BY_REPORT else None


def key_of(why: Mapping[str, object]) -> str:
    """Return the key of the budget that a verdict by this rule is about."""
    return next(iter(why))
