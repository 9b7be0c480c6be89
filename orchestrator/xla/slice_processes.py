"""Start, poll and end the processes of one trial together.

If one process dies, the others wait in a collective that never completes, so they are killed at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.process_env import Process
from orchestrator.xla.training_process import Message

SETTLE_SECONDS = 5.0
"""Seconds to wait for further errors after the first: the peers of a lost host may report before its loss is seen."""
LAG_SECONDS = 60.0
"""Seconds that the other processes may take to end after rank 0 has ended."""
ANSWER_SECONDS = 15.0
"""Seconds that a host may take to answer when the cause of an error is determined."""
_CHARACTERS = 1000


class HostLostError(Exception):
    """A host does not answer."""


class Host(Protocol):
    """A host of a slice: a Ray actor, or this machine."""

    address: str

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """End the running processes, and start one for each order."""

    def poll(self) -> list[Message]:
        """Return the new messages of its processes, without waiting. Raises HostLostError."""

    def answer(self, is_continued: bool) -> None:
        """Answer the report of its first process: whether to continue."""

    def stop(self) -> None:
        """Tell its first process to stop after the present batch."""

    def is_reachable(self, seconds: float) -> bool:
        """Return whether it answers within so many seconds."""

    def end(self) -> None:
        """End its processes."""

    def free_port(self) -> int:
        """Return an unused port of the host. Raises HostLostError."""


@dataclass(frozen=True)
class Ended:
    """The segment ended: by itself, because a report's answer was to stop, or told to stop at a batch."""

    is_stopped: bool = False
    """Whether rank 0 had been told to stop at a batch."""


@dataclass(frozen=True)
class Refused:
    """The processes found other devices than planned, or could not be started."""

    message: str
    hint: str


Outcome = Report | Interim | Ended | Refused | SegmentFailure


class WorkerGroup:
    """The hosts of a trial's slices, by rank, which run one segment at a time."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._serial = 0
        self._reset(0)

    def start(self, processes: Sequence[Process], job: Job, roots: Sequence[str]) -> None:
        """Start a segment on all hosts, with the folders ``roots`` to import from."""
        self._reset(len(processes))
        log = Path(job.folder) / "logs" / f"segment_{job.segment}"
        order: dict[str, Any] = {"job": job.to_text(), "trial": job.trial, "segment": job.segment}
        order |= {"log": str(log), "roots": list(roots)}
        for number, host in enumerate(self.hosts):
            plans = [asdict(process) for process in processes if process.host == number]
            host.start([{**order, "process": process, "serial": self._serial} for process in plans])

    def next_outcome(self) -> Outcome | None:
        """Return one event since the last call, or None.

        After any event except a report and a checkpoint between two reports, no process is running.
        """
        lost_host: SegmentFailure | None = None
        for host in self.hosts:
            try:
                for message in host.poll():
                    self._receive(message)
            except HostLostError as lost:
                lost_host = SegmentFailure("node", f"{host.address}: {lost}"[:_CHARACTERS], "node")
        if self._saved:  # the checkpoint is on the disk, even if an error came after it
            return self._saved.popleft()
        if lost_host is not None:
            return self._finish(lost_host)
        if self._first_error is not None:
            settled = self._exits == self._world or time.monotonic() - self._since > SETTLE_SECONDS
            return self._finish(self._cause()) if settled else None
        lagging = 0 in self._ended and time.monotonic() - self._since > LAG_SECONDS
        is_over = len(self._ended) == self._world or lagging
        return self._finish(Ended(self._is_stopped)) if is_over else None

    def answer(self, is_continued: bool) -> None:
        """Answer the last report: whether to continue."""
        self.hosts[0].answer(is_continued)

    def stop(self) -> None:
        """Tell the segment to stop, with a checkpoint, after the present batch."""
        self.hosts[0].stop()

    def end(self) -> None:
        """Kill every process."""
        for host in self.hosts:
            host.end()

    def _reset(self, world: int) -> None:
        self._serial += 1
        self._world, self._exits, self._since = world, 0, 0.0
        self._concluded: set[int] = set()  # ranks that have sent their last message
        self._ended: set[int] = set()
        self._is_stopped = False
        self._saved: deque[Report | Interim] = deque()
        self._first_error: SegmentFailure | Refused | None = None
        self._first_crash: SegmentFailure | None = None  # of a process that sent no last message

    def _receive(self, message: Message) -> None:
        rank = message["rank"]
        if message["serial"] != self._serial:
            return  # of an earlier segment
        if "report" in message and rank == 0:
            self._saved.append(Report.from_fields(message["report"]))
        elif "interim" in message:
            if rank == 0:
                self._saved.append(Interim.from_fields(message["interim"]))
        elif "refused" in message:
            self._concluded.add(rank)
            self._note(Refused(message["refused"], message.get("hint", "")))
        elif "failed" in message:
            self._concluded.add(rank)
            self._note(SegmentFailure(**message["failed"]))
        elif "ended" in message:
            self._concluded.add(rank)
            self._ended.add(rank)
            if rank == 0:
                self._since, self._is_stopped = time.monotonic(), bool(message.get("stopped"))
        elif "exit" in message:
            self._exits += 1
            if rank not in self._concluded:
                text = f"process {rank} {_exit_text(message['exit'])}: {message['tail'].rpartition(chr(10))[2]}"
                crash = SegmentFailure("lost", text.rstrip(": ")[:_CHARACTERS], "lost")
                self._first_crash = self._first_crash or crash
                self._note(crash)

    def _note(self, error: SegmentFailure | Refused) -> None:
        if self._first_error is None:
            self._first_error, self._since = error, time.monotonic()

    def _cause(self) -> SegmentFailure | Refused:
        """Return the cause of a failure: a lost host, else a crashed process, else the first error reported.

        The errors of the other processes may only say that their peer is missing.
        """
        assert self._first_error is not None
        lost_address = next((host.address for host in self.hosts if not host.is_reachable(ANSWER_SECONDS)), None)
        if lost_address is not None:
            return SegmentFailure("node", f"{lost_address} does not answer", "node")
        if isinstance(self._first_error, Refused):
            return self._first_error
        return self._first_crash or self._first_error

    def _finish(self, outcome: Outcome) -> Outcome:
        self.end()
        return outcome


def _exit_text(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
