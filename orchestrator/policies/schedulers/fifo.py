"""FIFO: no early stopping."""

from __future__ import annotations

from typing import Literal

from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.spec import SchedulerOptions


class FIFO(SchedulerOptions):
    """Every trial trains to its end.

    Example:
        ```python
        scheduler = orchestrator.FIFO()
        ```
    """

    name: Literal["fifo"] = "fifo"


class FIFOScheduler(Scheduler[FIFO]):
    """Let every trial train to its end."""

    exact = True

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Return None."""
        return None
