"""A pod without Ray, for one trial: every host runs this same program, as ``gcloud … --worker=all`` does.

The first host writes the journal; the others take the same trial from the same sweep file, and train their part of it.
A trial that is cut off cannot go on this way: that takes somebody who knows of all hosts, which Ray does.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import FORMAT, Journal
from orchestrator.rundir import run_at
from orchestrator.spec import SweepSpec
from orchestrator.training import Job, Report
from orchestrator.xla.process_env import Process
from orchestrator.xla.slice_host import SliceHost
from orchestrator.xla.slice_plan import processes
from orchestrator.xla.slice_processes import Ended, Gang, Outcome, Refused
from orchestrator.xla.training_process import Message

_TURN_SECONDS = 0.05


class Here:
    """This very host, as a gang's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._host = SliceHost()

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """See `gang.Host`."""
        self._host.start(orders)

    def poll(self) -> list[Message]:
        """See `gang.Host`."""
        return self._host.poll(0.0)

    def answer(self, go_on: bool) -> None:
        """See `gang.Host`."""
        self._host.answer(go_on)

    def answers(self, seconds: float) -> bool:
        """See `gang.Host`."""
        return True

    def end(self) -> None:
        """See `gang.Host`."""
        self._host.end()

    def free_port(self) -> int:
        """See `gang.Host`."""
        return self._host.free_port()


def own_processes(spec: SweepSpec, environment: Mapping[str, str] = os.environ) -> list[Process]:
    """The processes of this host, by what its platform says of it.

    Raises UsageError where that is nothing, or other hosts than the spec's slice has.
    """
    number = environment.get("SWEEP_TPU_WORKER") or environment.get("TPU_WORKER_ID", "")
    names = environment.get("SWEEP_TPU_HOSTS") or environment.get("TPU_WORKER_HOSTNAMES", "")
    if not number.isdecimal() or not names:
        raise UsageError(
            "this host does not know its place in the slice: TPU_WORKER_ID and TPU_WORKER_HOSTNAMES are not set",
            hint="GKE sets them, and sweep tpu launch --gcloud does so on a TPU VM",
        )
    return [process for process in processes(spec, names.split(",")) if process.host == int(number)]


def lead(live: SweepController, stopping: StopRequests, own: Sequence[Process], roots: Sequence[str]) -> None:
    """The first host's part: run the sweep's one trial, with the others training theirs."""
    live.start("xla", slots=1)
    job = live.next_job(own[0].address, live.spec.resources.tpu or "")
    if isinstance(job, str):
        return

    def report(epoch: Report) -> bool:
        live.stop_reason = live.stop_reason or stopping.reason
        return live.on_report(job.trial, job.segment, epoch)

    outcome = _train(own, job, roots, report)
    if isinstance(outcome, Refused):
        raise SweepError(outcome.message, hint=outcome.hint)
    if isinstance(outcome, Ended):
        live.on_end(job.trial, job.segment)
    elif not isinstance(outcome, Report):
        live.on_failure(job.trial, job.segment, outcome)
        raise SweepError(
            f"the trial cannot go on without Ray: {outcome.message}", hint="launch it again by another name"
        )


def follow(spec: SweepSpec, own: Sequence[Process], roots: Sequence[str]) -> None:
    """Another host's part: the same trial, from a journal of its own that nobody keeps. Raises SweepError."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        run = run_at(spec.name, Path(folder))
        run.root.mkdir(parents=True)
        journal = Journal.create(run.journal)
        written = spec.model_dump(mode="json")
        journal.append("sweep.created", format=FORMAT, spec=written, seed=spec.seed, versions={}, git=None, roots=[])
        live = SweepController(spec, run, journal, DriverHost(run, StopRequests()))
        job = live.next_job()
        journal.close()
        assert isinstance(job, Job)
        outcome = _train(own, job, roots, lambda report: True)
    if not isinstance(outcome, Ended):
        said = outcome.message if not isinstance(outcome, Report) else ""
        raise SweepError(f"process {own[0].rank} on {own[0].address}: {said}")


def _train(own: Sequence[Process], job: Job, roots: Sequence[str], report: Any) -> Outcome:
    """Train this host's part of a segment to its end."""
    gang = Gang([Here(own[0].address)])
    mine = [Process(**{**asdict(process), "host": 0}) for process in own]
    gang.start(mine, {"job": asdict(job), "roots": list(roots)})
    try:
        while True:
            outcome = gang.turn()
            if isinstance(outcome, Report):
                gang.answer(report(outcome))
            elif outcome is not None:
                return outcome
            time.sleep(_TURN_SECONDS)
    finally:
        gang.end()
