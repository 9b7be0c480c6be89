"""Run a sweep in this process, one segment after another: for debugging, tests and small machines."""

from __future__ import annotations

import torch

from orchestrator.engine.controller import SweepController
from orchestrator.engine.segment_runner import attempt
from orchestrator.engine.standard_descriptors import StandardDescriptors
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import UsageError
from orchestrator.training import Interim, Job, Report
from orchestrator.training.process_exit import exit_raises


def run(controller: SweepController, stop_requests: StopRequests) -> None:
    """Run segments until the sweep has no more.

    Raises:
        UsageError: A trial needs several processes.
    """
    if controller.spec.resources.workers > 1:
        raise UsageError(
            "--local runs a trial in one process, and resources.workers asks for more", hint="leave --local out"
        )
    controller.start("local", slots=1, threads=torch.get_num_threads())
    with StandardDescriptors() as descriptors:
        while not isinstance(job := controller.next_job(), str):
            _run_segment(controller, job, descriptors)


def _run_segment(controller: SweepController, job: Job, descriptors: StandardDescriptors) -> None:
    must_stop = False

    def report(epoch: Report) -> bool:
        descriptors.repair()
        return controller.on_report(job.trial, job.segment, epoch)

    def interim(saved: Interim) -> None:
        descriptors.repair()
        controller.on_interim(job.trial, job.segment, saved)

    def stop() -> bool:
        nonlocal must_stop
        must_stop = must_stop or controller.must_stop(job.trial)
        return must_stop

    order = Job.from_text(job.to_text())  # as on a worker: the same values, and nothing shared
    with exit_raises():
        failure = attempt(order, report, interim=interim, stop=stop, to_terminal=True)
    descriptors.repair()
    if failure:
        controller.on_failure(job.trial, job.segment, failure)
    elif must_stop:
        controller.on_stop(job.trial, job.segment)
    else:
        controller.on_end(job.trial, job.segment)
