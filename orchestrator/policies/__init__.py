"""Searchers propose, schedulers judge. Both are functions of the journal's events and the sweep's seed alone.

The base classes are in `searcher` and `scheduler`; a plug-in is one module of ``searchers/`` or ``schedulers/``.
"""

from orchestrator.policies.scheduler import Scheduler, Verdict, build_scheduler, foreign_scheduler
from orchestrator.policies.search_wrappers import build_searcher
from orchestrator.policies.searcher import Searcher, Suggestion, foreign_searcher

__all__ = [
    "Scheduler",
    "Searcher",
    "Suggestion",
    "Verdict",
    "build_scheduler",
    "build_searcher",
    "foreign_scheduler",
    "foreign_searcher",
]
