"""One trial on a pod without Ray: every host runs this same program, as ``gcloud … --worker=all`` does.

The first host writes the journal. The others compute the same trial from the same sweep file, and train their part.
An interrupted trial cannot be resumed this way: that needs a driver that knows all hosts, which Ray provides.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import FORMAT, Journal
from orchestrator.policies.distinct import RULES
from orchestrator.rundir import run_at
from orchestrator.spec import SweepSpec
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.process_env import Process, plan_processes
from orchestrator.xla.slice_processes import Ended, Outcome, Refused, WorkerGroup
from orchestrator.xla.training_process import Message, SliceHost

_TURN_SECONDS = 0.05
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class LocalHost:
    """This machine as a `slice_processes.Host`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._host = SliceHost()

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """See `slice_processes.Host`."""
        self._host.start(orders)

    def poll(self) -> list[Message]:
        """See `slice_processes.Host`."""
        return self._host.poll(0.0)

    def answer(self, is_continued: bool) -> None:
        """See `slice_processes.Host`."""
        self._host.answer(is_continued)

    def stop(self) -> None:
        """See `slice_processes.Host`."""
        self._host.stop()

    def is_reachable(self, seconds: float) -> bool:
        """See `slice_processes.Host`."""
        return True

    def end(self) -> None:
        """See `slice_processes.Host`."""
        self._host.end()

    def free_port(self) -> int:
        """See `slice_processes.Host`."""
        return self._host.free_port()


def own_processes(spec: SweepSpec) -> list[Process]:
    """Return the processes of this host, by the platform's environment variables.

    Raises:
        UsageError: the variables are not set, or name another number of hosts than the spec's slice has.
    """
    number = os.environ.get("SWEEP_TPU_WORKER") or os.environ.get("TPU_WORKER_ID", "")
    names = os.environ.get("SWEEP_TPU_HOSTS") or os.environ.get("TPU_WORKER_HOSTNAMES", "")
    if not number.isdecimal() or not names:
        raise UsageError(
            "this host's position in the slice is unknown: TPU_WORKER_ID and TPU_WORKER_HOSTNAMES are not set",
            hint="GKE sets them; on a TPU VM, sweep tpu launch --gcloud sets equivalent ones",
        )
    return [process for process in plan_processes(spec, names.split(",")) if process.host == int(number)]


def lead(
    controller: SweepController, stop_requests: StopRequests, own: Sequence[Process], roots: Sequence[str]
) -> None:
    """Run the sweep's one trial on the first host, while the other hosts `follow`. Raises SweepError if it fails."""
    controller.start("xla", slots=1)
    job = controller.next_job(own[0].address, controller.spec.resources.tpu or "")
    if isinstance(job, str):
        return

    def receive(saved: Report | Interim) -> bool:
        stop_requests.note_saving(saved.saving)
        if isinstance(saved, Interim):
            return controller.on_interim(job.trial, job.segment, saved)
        return controller.on_report(job.trial, job.segment, saved)

    def must_stop() -> bool:
        controller.stop_reason = controller.stop_reason or stop_requests.reason
        return controller.must_stop(job.trial)

    outcome = _train(own, job, roots, receive, must_stop)
    if isinstance(outcome, Refused):
        raise SweepError(outcome.message, hint=outcome.hint)
    if isinstance(outcome, Ended):
        end = controller.on_stop if outcome.is_stopped else controller.on_end
        end(job.trial, job.segment)
    elif not isinstance(outcome, Report | Interim):
        controller.on_failure(job.trial, job.segment, outcome)
        raise SweepError(
            f"the trial cannot be resumed without Ray: {outcome.message}", hint="launch it again under another name"
        )


def follow(spec: SweepSpec, own: Sequence[Process], roots: Sequence[str]) -> None:
    """Train the same trial on another host, with a temporary journal. Raises SweepError if it fails."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        run = run_at(spec.name, Path(folder))
        run.root.mkdir(parents=True)
        journal = Journal.create(run.journal)
        fields = spec.model_dump(mode="json")
        created: dict[str, Any] = {
            "format": FORMAT,
            "suggestion_rules": RULES,
            "spec": fields,
            "seed": spec.seed,
        }  # as the leader's
        journal.append("sweep.created", **created, versions={}, git=None, roots=[])
        controller = SweepController(spec, run, journal, DriverHost(run, StopRequests()))
        job = controller.next_job()
        journal.close()
        assert isinstance(job, Job)
        outcome = _train(own, job, roots, lambda saved: True, lambda: False)
    if not isinstance(outcome, Ended):
        message = outcome.message if not isinstance(outcome, Report | Interim) else ""
        raise SweepError(f"process {own[0].rank} on {own[0].address}: {message}")


def _train(
    own: Sequence[Process],
    job: Job,
    roots: Sequence[str],
    receive: Callable[[Report | Interim], bool],
    must_stop: Callable[[], bool],
) -> Outcome:
    """Train this host's part of a segment until it ends.

    ``receive`` gets each report and returns whether to continue, and each checkpoint between two reports.
    """
    group = WorkerGroup([LocalHost(own[0].address)])
    local = [Process(**{**asdict(process), "host": 0}) for process in own]
    group.start(local, job, roots)
    is_told = False
    try:
        while True:
            if not is_told and must_stop():
                is_told = True
                group.stop()
            outcome = group.next_outcome()
            if isinstance(outcome, Report):
                group.answer(receive(outcome))
            elif isinstance(outcome, Interim):
                receive(outcome)
            elif outcome is not None:
                return outcome
            time.sleep(_TURN_SECONDS)
    finally:
        group.end()


_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes"
# As torch_xla reads it: worker-network-endpoints lists name:uid:address of each host, separated by commas.
_EXPORTS = (
    f"get() {{ curl -sf -H 'Metadata-Flavor: Google' {_METADATA}/$1; }}; "
    "export SWEEP_TPU_WORKER=$(get agent-worker-number) "
    "SWEEP_TPU_HOSTS=$(get worker-network-endpoints | tr , '\\n' | cut -d: -f3 | paste -sd,)"
)


def gcloud_command(arguments: Sequence[str], *, tpu: str, zone: str) -> list[str]:
    """Return the gcloud command that runs ``sweep tpu launch --alone`` with these arguments on all hosts of a TPU VM.

    Raises:
        UsageError: the zone is missing, or one of them is no name but, say, an option of gcloud.
    """
    if not _NAME.fullmatch(zone):
        raise UsageError("--gcloud needs the TPU VM's zone", hint="e.g. --zone us-central2-b")
    if not _NAME.fullmatch(tpu):
        raise UsageError(
            f"{tpu!r} is no name of a TPU VM", hint="names have letters, digits and dashes: --gcloud my-pod"
        )
    script = f"{_EXPORTS}; {shlex.join(['sweep', 'tpu', 'launch', '--alone', *arguments])}"
    return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", tpu, f"--zone={zone}", "--worker=all", f"--command={script}"]


def run_gcloud(command: Sequence[str]) -> int:
    """Run a gcloud command and return its exit code. Raises UsageError if gcloud is not installed."""
    if shutil.which(command[0]) is None:
        raise UsageError("gcloud is not installed", hint="--dry-run prints the command, to run on another machine")
    return subprocess.run(command, check=False).returncode
