"""The sweep in this very process, one segment after another: for breakpoints, tests and small machines."""

from __future__ import annotations

import torch

from orchestrator.engine.controller import LiveSweep
from orchestrator.engine.segment_runner import attempt
from orchestrator.engine.stop_requests import Stopping
from orchestrator.errors import UsageError
from orchestrator.training import Job, Report


def run(live: LiveSweep, stopping: Stopping) -> None:
    """Run every segment that the sweep has to give."""
    if live.spec.resources.workers > 1:
        raise UsageError(
            "--local runs a trial in one process, and resources.workers asks for more", hint="leave --local out"
        )
    live.launched("local", slots=1, threads=torch.get_num_threads())
    while not isinstance(job := live.next_job(), str):
        _run_segment(live, job)


def _run_segment(live: LiveSweep, job: Job) -> None:
    def report(epoch: Report) -> bool:
        return live.reported(job.trial, job.segment, epoch)

    failed = attempt(job, report)
    if failed:
        live.failed(job.trial, job.segment, failed)
    else:
        live.ended(job.trial, job.segment)
