"""The processes of a trial as one: started together, told of together, and ended together.

When one goes, the others wait for it in a collective that never comes to its end: they are killed, not waited for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.training import Checkpoint, Report
from orchestrator.xla.process_env import Process
from orchestrator.xla.training_process import Message

SETTLE_SECONDS = 5.0
"""How long others may take to tell after the first sign of trouble: a host that has gone is seen by its peers first."""
LAG_SECONDS = 60.0
"""How long the others may take to end after the first process has."""
ANSWER_SECONDS = 15.0
"""How long a host may take to answer when trouble is looked into."""
_CHARACTERS = 1000


class HostLostError(Exception):
    """A host does not answer any more."""


class Host(Protocol):
    """A host of a slice, wherever it is."""

    address: str

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """Start the processes that are ordered, and end those before them."""

    def poll(self) -> list[Message]:
        """What its processes have said; does not wait. Raises HostLostError."""

    def answer(self, go_on: bool) -> None:
        """Answer the report of its first process."""

    def answers(self, seconds: float) -> bool:
        """Whether it is still there."""

    def end(self) -> None:
        """End its processes."""

    def free_port(self) -> int:
        """A port that nothing listens on there. Raises HostLostError."""


@dataclass(frozen=True)
class Ended:
    """The segment came to its end, or was told to."""


@dataclass(frozen=True)
class Refused:
    """The processes found other devices than were planned, or could not start at all."""

    message: str
    hint: str


Outcome = Report | Ended | Refused | SegmentFailure


class Gang:
    """The hosts of a trial's slices, by rank. One segment after another."""

    def __init__(self, hosts: Sequence[Host], clock: Callable[[], float] = time.monotonic) -> None:
        self.hosts = hosts
        self._clock = clock
        self._serial = 0
        self._begin(0)

    def start(self, processes: Sequence[Process], order: Mapping[str, Any]) -> None:
        """Start a segment: ``order`` is the same for all but for the process that each is."""
        self._begin(len(processes))
        for number, host in enumerate(self.hosts):
            own = [asdict(process) for process in processes if process.host == number]
            host.start([{**order, "process": process, "serial": self._serial} for process in own])

    def turn(self) -> Outcome | None:
        """What has happened since the last call, one thing at a time. After anything but a report nothing runs."""
        gone: SegmentFailure | None = None
        for host in self.hosts:
            try:
                for message in host.poll():
                    self._take(message)
            except HostLostError as lost:
                gone = SegmentFailure("node", f"{host.address}: {lost}"[:_CHARACTERS], "node")
        if self._reports:  # its checkpoint is on the disk, whatever has come since
            return self._reports.popleft()
        if gone is not None:
            return self._over(gone)
        if self._trouble is not None:
            settled = self._gone == self._world or self._clock() - self._since > SETTLE_SECONDS
            return self._over(self._blame()) if settled else None
        lagging = 0 in self._ended and self._clock() - self._since > LAG_SECONDS
        return self._over(Ended()) if len(self._ended) == self._world or lagging else None

    def answer(self, go_on: bool) -> None:
        """Answer the last report."""
        self.hosts[0].answer(go_on)

    def end(self) -> None:
        """Kill every process, wherever it is in its work."""
        for host in self.hosts:
            host.end()

    def _begin(self, world: int) -> None:
        self._serial += 1
        self._world, self._gone, self._since = world, 0, 0.0
        self._told: set[int] = set()
        self._ended: set[int] = set()
        self._reports: deque[Report] = deque()
        self._trouble: SegmentFailure | Refused | None = None
        self._without_a_word: SegmentFailure | None = None

    def _take(self, message: Message) -> None:
        rank = message["rank"]
        if message["serial"] != self._serial:
            return  # of the segment before
        if "report" in message and rank == 0:
            self._reports.append(_report(message["report"]))
        elif "refused" in message:
            self._told.add(rank)
            self._note(Refused(message["refused"], message.get("hint", "")))
        elif "failed" in message:
            self._told.add(rank)
            self._note(SegmentFailure(**message["failed"]))
        elif "ended" in message:
            self._told.add(rank)
            self._ended.add(rank)
            self._since = self._clock() if rank == 0 else self._since
        elif "exit" in message:
            self._gone += 1
            if rank not in self._told:
                text = f"process {rank} {_how(message['exit'])}: {message['tail'].rpartition(chr(10))[2]}"
                lost = SegmentFailure("lost", text.rstrip(": ")[:_CHARACTERS], "lost")
                self._without_a_word = self._without_a_word or lost
                self._note(lost)

    def _note(self, trouble: SegmentFailure | Refused) -> None:
        if self._trouble is None:
            self._trouble, self._since = trouble, self._clock()

    def _blame(self) -> SegmentFailure | Refused:
        """The cause of the trouble: a host that went, then a process that did, then the first that told of an error.

        An error of the others may be no more than that their peer is not there.
        """
        assert self._trouble is not None
        lost = next((host.address for host in self.hosts if not host.answers(ANSWER_SECONDS)), None)
        if lost is not None:
            return SegmentFailure("node", f"{lost} does not answer", "node")
        if isinstance(self._trouble, Refused):
            return self._trouble
        return self._without_a_word or self._trouble

    def _over(self, outcome: Outcome) -> Outcome:
        self.end()
        return outcome


def _report(fields: dict[str, Any]) -> Report:
    checkpoint = fields["checkpoint"]
    return Report(fields["epoch"], fields["metrics"], Checkpoint(**checkpoint) if checkpoint else None)


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
