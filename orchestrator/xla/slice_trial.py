"""The training process: one segment on the devices that were planned for it, told of to its host.

It reads an order from its standard input, then answers to its reports; what it has to say goes through a pipe, since
users' modules print. When its standard input closes, its host has gone, and it ends at once.
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
from orchestrator.training import Job, Report
from orchestrator.xla.process_env import Process
from orchestrator.xla.training_process import CHANNEL

_HOST_GONE = 70


class Host:
    """The host, from the training process's side."""

    def __init__(self) -> None:
        self._channel = os.fdopen(int(os.environ[CHANNEL]), "w")
        self._said: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self) -> dict[str, Any]:
        """What is to be done."""
        found: dict[str, Any] = self._said.get()
        return found

    def tell(self, **message: Any) -> None:
        """Say something."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def report(self, report: Report) -> bool:
        """Report an epoch and wait for the answer."""
        self.tell(report=asdict(report))
        return bool(self._said.get())

    def _listen(self) -> None:
        for line in sys.stdin:
            self._said.put(json.loads(line))
        os._exit(_HOST_GONE)


def main() -> None:
    """Run one segment, and leave without the libraries' own farewell, in which a device may hang."""
    host = Host()
    order = host.order()
    try:
        _run(host, order)
    except SweepError as error:
        host.tell(refused=error.message, hint=error.hint)
    sys.stdout.flush()
    os._exit(0)


def _run(host: Host, order: Mapping[str, Any]) -> None:
    from orchestrator.secrets import guard_streams
    from orchestrator.training.class_loading.import_paths import import_from

    guard_streams()
    import_from(order["roots"])
    process = Process(**{**order["process"], "unset": tuple(order["process"]["unset"])})
    job = Job(**order["job"])
    if process.rank > 0:  # a trial has one run in a tracker, and rank 0 tells of it
        job = replace(job, tracking={})
    device = _device(process, job)
    from orchestrator.engine.segment_runner import attempt

    failed = attempt(job, host.report, device=device)
    if failed:
        host.tell(failed=asdict(failed))
    else:
        host.tell(ended=True)


def _device(process: Process, job: Job) -> dict[str, Any] | None:
    """Trainer arguments for the planned devices. Raises SweepError where others are found."""
    if process.runtime == "plain":
        return None
    from orchestrator.xla.accelerator import trainer_arguments

    return trainer_arguments(process, job.trainer.get("precision", "auto"), job.seed)


if __name__ == "__main__":
    main()
