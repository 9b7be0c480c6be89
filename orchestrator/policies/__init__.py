"""Searchers propose, schedulers judge. Both are functions of the journal's events and the sweep's seed alone."""

from orchestrator.policies.schedulers import (
    ASHA,
    FIFO,
    Frontier,
    PromotionASHA,
    Scheduler,
    Verdict,
    build_scheduler,
    foreign_scheduler,
    last_rung,
)
from orchestrator.policies.searchers import Grid, Random, Searcher, Sobol, TryFirst, build_searcher, foreign

__all__ = [
    "ASHA",
    "FIFO",
    "Frontier",
    "Grid",
    "PromotionASHA",
    "Random",
    "Scheduler",
    "Searcher",
    "Sobol",
    "TryFirst",
    "Verdict",
    "build_scheduler",
    "build_searcher",
    "foreign",
    "foreign_scheduler",
    "last_rung",
]
