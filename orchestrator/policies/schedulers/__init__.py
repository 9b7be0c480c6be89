"""Schedulers: after each report a trial goes on, stops or is set aside, with the numbers compared."""

from __future__ import annotations

from orchestrator.policies.schedulers.asha import ASHA, PromotionASHA, last_rung
from orchestrator.policies.schedulers.base import FIFO, Scheduler, Verdict
from orchestrator.spec import ASHAScheduler, SweepSpec
from orchestrator.state import Objective

__all__ = ["ASHA", "FIFO", "PromotionASHA", "Scheduler", "Verdict", "build_scheduler", "last_rung"]


def build_scheduler(spec: SweepSpec) -> Scheduler:
    """The spec's scheduler, with nothing observed yet."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    if isinstance(spec.scheduler, ASHAScheduler):
        rungs = spec.scheduler.grace_epochs, spec.scheduler.reduction_factor
        if spec.scheduler.promote:
            return PromotionASHA(objective, *rungs, spec.trainer.get("max_epochs"))
        return ASHA(objective, *rungs)
    return FIFO(objective)
