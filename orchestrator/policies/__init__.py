"""Searchers propose, schedulers judge. Both are functions of the journal's events and the sweep's seed alone."""

from orchestrator.policies.schedulers import ASHA, FIFO, PromotionASHA, Scheduler, Verdict, build_scheduler, last_rung
from orchestrator.policies.searchers import TPE, Grid, Random, Searcher, build_searcher

__all__ = [
    "ASHA",
    "FIFO",
    "TPE",
    "Grid",
    "PromotionASHA",
    "Random",
    "Scheduler",
    "Searcher",
    "Verdict",
    "build_scheduler",
    "build_searcher",
    "last_rung",
]
