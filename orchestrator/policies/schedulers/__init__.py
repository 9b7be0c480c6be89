"""Schedulers: after each report a trial goes on, stops or is set aside, with the numbers compared."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.policies.schedulers.asha import ASHA, PromotionASHA, last_rung
from orchestrator.policies.schedulers.base import FIFO, Scheduler, Verdict
from orchestrator.policies.schedulers.frontier import Frontier
from orchestrator.policies.schedulers.hyperband import Hyperband
from orchestrator.policies.schedulers.pbt import PBT
from orchestrator.policies.schedulers.ray_schedulers import RAYS, RayScheduler
from orchestrator.policies.schedulers.single import Median, Patience
from orchestrator.spec import GridSearcher, RayTuneScheduler, SweepSpec
from orchestrator.state import Objective

__all__ = [
    "ASHA",
    "FIFO",
    "PBT",
    "Frontier",
    "Hyperband",
    "Median",
    "Patience",
    "PromotionASHA",
    "RayScheduler",
    "Scheduler",
    "Verdict",
    "build_scheduler",
    "foreign_scheduler",
    "last_rung",
]


def build_scheduler(spec: SweepSpec) -> Scheduler:
    """The spec's scheduler, with nothing observed yet."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    options = spec.scheduler.model_dump(exclude={"name"})
    max_epochs = spec.trainer.get("max_epochs")
    match spec.scheduler.name:
        case "asha" if options.pop("promote"):
            return PromotionASHA(objective, **options, max_epochs=max_epochs)
        case "asha":
            return ASHA(objective, **options)
        case "frontier":
            return Frontier(objective, **options, max_epochs=_max_epochs(spec), trials=_trials(spec))
        case "hyperband":
            return Hyperband(objective, **options, max_epochs=max_epochs or 1, trials=spec.budget.trials)
        case "median":
            return Median(objective, **options, max_epochs=max_epochs)
        case "patience":
            return Patience(objective, **options, max_epochs=max_epochs)
        case "pbt" | "pb2":
            return _population(spec, objective, options)
        case "ray":
            return RayScheduler(objective, spec.seed, **options)
    return FIFO(objective)


def _max_epochs(spec: SweepSpec) -> int | None:
    """How long every trial trains; None where something else ends it, or each has an end of its own."""
    written = None if "trainer.max_epochs" in spec.space else spec.trainer.get("max_epochs")
    return written if isinstance(written, int) and written > 0 else None


def _trials(spec: SweepSpec) -> float:
    """How many trials there will be at most."""
    points = spec.space.grid_size if isinstance(spec.searcher, GridSearcher) else math.inf
    return min(points, math.inf if spec.budget.trials is None else spec.budget.trials)


def foreign_scheduler(spec: SweepSpec) -> str:
    """The scheduler's class path, if to ask it is to import what does not come with Ray; else empty."""
    scheduler = spec.scheduler
    if not isinstance(scheduler, RayTuneScheduler) or scheduler.class_path.startswith(RAYS):
        return ""
    return scheduler.class_path


def _population(spec: SweepSpec, objective: Objective, options: dict[str, Any]) -> Scheduler:
    population, max_epochs = spec.budget.trials or 1, spec.trainer["max_epochs"]
    if spec.scheduler.name == "pb2":
        from orchestrator.policies.schedulers.pb2 import PB2

        return PB2(objective, spec.space, spec.seed, population=population, max_epochs=max_epochs, **options)
    return PBT(objective, spec.space, spec.seed, population=population, max_epochs=max_epochs, **options)
