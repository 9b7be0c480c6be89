"""The sweep in this very process, one segment after another: for breakpoints, tests and small machines."""

from __future__ import annotations

from orchestrator.engine.live import LiveSweep
from orchestrator.engine.segment import attempt
from orchestrator.engine.stopping import Stopping
from orchestrator.training import Job, Report


def run(live: LiveSweep, stopping: Stopping) -> None:
    """Run every segment that the sweep has to give."""
    live.launched("local", slots=1)
    while not _asked(live, stopping):
        job = live.next_job()
        if job == "none_left":
            return
        _run_segment(live, stopping, job)


def _run_segment(live: LiveSweep, stopping: Stopping, job: Job) -> None:
    def report(epoch: Report) -> bool:
        _asked(live, stopping)
        return live.reported(job.trial, job.segment, epoch)

    failed = attempt(job, report)
    if failed:
        live.failed(job.trial, job.segment, failed)
    else:
        live.ended(job.trial, job.segment)


def _asked(live: LiveSweep, stopping: Stopping) -> bool:
    live.stop_reason = live.stop_reason or stopping.asked
    return bool(live.stop_reason)
