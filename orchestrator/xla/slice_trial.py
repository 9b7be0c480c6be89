"""The training process: train one segment on the planned devices, and send messages to the host.

It reads an order from its standard input, then the answers to its reports. It sends messages through a pipe, since
users' modules print to standard output. If its standard input closes, the host is lost, and it ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.process_env import Process
from orchestrator.xla.training_process import CHANNEL, STOP

_HOST_LOST = 70  # exit code


class HostChannel:
    """The connection to the host."""

    def __init__(self) -> None:
        self._channel = os.fdopen(int(os.environ[CHANNEL]), "w")
        self._received: queue.Queue[Any] = queue.Queue()
        self._is_told_to_stop = False
        self.has_stopped = False
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self) -> dict[str, Any]:
        """Wait for the order and return it."""
        order: dict[str, Any] = self._received.get()
        return order

    def send(self, **message: Any) -> None:
        """Send a message."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def report(self, report: Report) -> bool:
        """Send a report, and return the answer: whether to continue."""
        self.send(report=asdict(report))
        return bool(self._received.get())

    def interim(self, saved: Interim) -> None:
        """Send a checkpoint between two reports. It has no answer."""
        self.send(interim=asdict(saved))

    def must_stop(self) -> bool:
        """Return whether the host has told this process to stop after the present batch."""
        self.has_stopped = self._is_told_to_stop
        return self.has_stopped

    def _listen(self) -> None:
        for line in sys.stdin:
            received = json.loads(line)
            if received == STOP:
                self._is_told_to_stop = True
            else:
                self._received.put(received)
        os._exit(_HOST_LOST)


def main() -> None:
    """Run one segment, then exit without the libraries' exit handlers, in which a device may hang."""
    host = HostChannel()
    order = host.order()
    try:
        _run(host, order)
    except SweepError as error:
        host.send(refused=error.message, hint=error.hint)
    sys.stdout.flush()
    os._exit(0)


def _run(host: HostChannel, order: Mapping[str, Any]) -> None:
    from orchestrator.secrets import guard_streams
    from orchestrator.training.class_loading.import_paths import import_from

    guard_streams()
    import_from(order["roots"])
    process = Process(**{**order["process"], "unset": tuple(order["process"]["unset"])})
    job = Job.from_text(order["job"])
    if process.rank > 0:  # a trial has one run in a tracker, which rank 0 writes
        job = replace(job, tracking={})
    device = _device(process, job)
    from orchestrator.engine.segment_runner import attempt

    failed = attempt(job, host.report, device=device, interim=host.interim, stop=host.must_stop, rank=process.rank)
    if failed:
        host.send(failed=asdict(failed))
    else:
        host.send(ended=True, stopped=host.has_stopped)


def _device(process: Process, job: Job) -> dict[str, Any] | None:
    """Return Trainer arguments for the planned devices. Raises SweepError if there are other devices."""
    if process.runtime == "plain":
        return None
    from orchestrator.xla.accelerator import trainer_arguments

    return trainer_arguments(process, job.trainer.get("precision", "auto"), job.seed)


if __name__ == "__main__":
    main()
