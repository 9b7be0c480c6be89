"""Schedulers: after each report a trial goes on, stops or is set aside, with the numbers compared."""

from __future__ import annotations

import math

from orchestrator.policies.schedulers.asha import ASHA, PromotionASHA, last_rung
from orchestrator.policies.schedulers.base import FIFO, Scheduler, Verdict
from orchestrator.policies.schedulers.frontier import Frontier
from orchestrator.spec import ASHAScheduler, FrontierScheduler, GridSearcher, SweepSpec
from orchestrator.state import Objective

__all__ = ["ASHA", "FIFO", "Frontier", "PromotionASHA", "Scheduler", "Verdict", "build_scheduler", "last_rung"]


def build_scheduler(spec: SweepSpec) -> Scheduler:
    """The spec's scheduler, with nothing observed yet."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    if isinstance(spec.scheduler, ASHAScheduler):
        rungs = spec.scheduler.grace_epochs, spec.scheduler.reduction_factor
        if spec.scheduler.promote:
            return PromotionASHA(objective, *rungs, spec.trainer.get("max_epochs"))
        return ASHA(objective, *rungs)
    if isinstance(spec.scheduler, FrontierScheduler):
        rungs = spec.scheduler.grace_epochs, spec.scheduler.reduction_factor
        return Frontier(objective, *rungs, _max_epochs(spec), _trials(spec))
    return FIFO(objective)


def _max_epochs(spec: SweepSpec) -> int | None:
    """How long every trial trains; None where something else ends it, or each has an end of its own."""
    written = None if "trainer.max_epochs" in spec.space else spec.trainer.get("max_epochs")
    return written if isinstance(written, int) and written > 0 else None


def _trials(spec: SweepSpec) -> float:
    """How many trials there will be at most."""
    points = spec.space.grid_size if isinstance(spec.searcher, GridSearcher) else math.inf
    return min(points, math.inf if spec.budget.trials is None else spec.budget.trials)
