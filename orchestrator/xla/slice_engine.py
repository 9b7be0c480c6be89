"""Segments on TPU slices, and on GPUs beside them: one slot a place, fed and judged by the live sweep.

No Ray Tune: a trial is several processes on several hosts that live and die as one, and Tune's trials are one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.engine.controller import SweepController
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.watchdog import Watchdog
from orchestrator.errors import SweepError, UsageError
from orchestrator.spec import SweepSpec
from orchestrator.spec.tpu_placement import GPU, kinds, wanted_slice
from orchestrator.training import Job, Report
from orchestrator.xla.process_env import Process, plan_env
from orchestrator.xla.slice_inventory import Node, Place, Roster
from orchestrator.xla.slice_processes import Ended, Gang, Host, HostLostError, Outcome, Refused

PATIENCE = 600.0
"""Seconds without anything to train on, and nothing training, before the sweep is paused."""
_LOOK_SECONDS = 1.0
_TURN_SECONDS = 0.05
_REST_SECONDS = 20.0  # before a place is asked for again whose hosts could not be started


class Reserved(Protocol):
    """A place that was asked for."""

    def hosts(self) -> Sequence[Host] | None:
        """Its hosts by rank, once it is ours; None until then. Raises HostLostError."""

    def release(self) -> None:
        """Let go of it."""


class Cluster(Protocol):
    """What the engine needs of a cluster."""

    def nodes(self) -> list[Node]:
        """The nodes that are alive."""

    def reserve(self, place: Place) -> Reserved:
        """Ask for a place as a whole."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass
class _Slot:
    """A place that the sweep holds or has asked for; ``job`` is what runs there."""

    place: Place
    reserved: Reserved
    gang: Gang | None = None
    job: Job | None = None


def run(
    live: SweepController, stopping: StopRequests, *, roots: list[str], address: str = "", patience: float = PATIENCE
) -> None:
    """Run every segment on the cluster at ``address``, else on the one that this machine is part of.

    Raises UsageError where there is no cluster, SweepError where there is nothing to train on for too long, or where
    the first processes find other devices than were planned.
    """
    from orchestrator.xla.ray_slices import Pod

    pod = Pod(address or "auto")
    try:
        Engine(live, stopping, pod, roots=roots, patience=patience).run()
    finally:
        pod.close()


def check(spec: SweepSpec, *, local: bool) -> None:
    """Raises UsageError where a sweep's trials can be planned, but not run."""
    if local:
        raise UsageError(
            f"a trial gets {spec.resources.tpu}, which is not in this process",
            hint="without a TPU: --set resources.tpu=null, or a rehearsal, as docs/tpu.md shows",
        )
    if spec.resources.runtime == "torch_tpu":
        raise UsageError(
            "TorchTPU's launch environment is planned, but trials do not run on it yet",
            hint="sweep tpu plan shows the plan; runtime: xla-spmd trains",
        )


class Engine:
    """One live sweep on one cluster."""

    def __init__(
        self,
        live: SweepController,
        stopping: StopRequests,
        cluster: Cluster,
        *,
        roots: list[str],
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live, self._stopping, self._cluster = live, stopping, cluster
        self._roots, self._patience, self._clock = roots, patience, clock
        self._resources = live.spec.resources
        self._slice = wanted_slice(self._resources)
        self._roster = Roster(self._resources)
        self._slots: list[_Slot] = []
        self._watchdog = Watchdog(live.spec.recovery.stalled_after, live.run.changed)
        self._looked = clock() - _LOOK_SECONDS
        self._faults: dict[str, tuple[str, float]] = {}
        self._busy_at = clock()
        self._launched = False

    def run(self) -> None:
        """Until there is nothing left to run, or somebody asks for a stop."""
        try:
            while not self._over():
                self._look_around()
                for slot in list(self._slots):
                    self._listen(slot)
                self._end_stalled()
                if self._hand_out() and not self._running:
                    return
                time.sleep(_TURN_SECONDS)
        finally:
            for slot in list(self._slots):
                self._drop(slot)

    @property
    def _running(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.job is not None]

    def _over(self) -> bool:
        """Whether it is time to go: what ran has ended after a stop was asked for, or its time is up."""
        live = self._live
        live.stop_reason = live.stop_reason or self._stopping.reason
        if self._running:
            self._busy_at = self._clock()
        elif not live.stop_reason and self._clock() - self._busy_at > self._patience:
            wanted = " or ".join(kinds(self._resources))
            raise SweepError(
                f"nothing to train on for {self._patience:.0f} s ({wanted}): {self._words()}",
                hint="sweep resume goes on from here when it is there again",
            )
        return bool(live.stop_reason) and (not self._running or self._stopping.overdue)

    def _words(self) -> str:
        """What there is, and what came of asking for it."""
        faults = [f"{name} cannot be used: {fault}" for name, (fault, _) in self._faults.items()]
        return "; ".join([*([self._roster.words()] if self._slice else []), *faults]) or "there is none"

    def _look_around(self) -> None:
        """Take note of who is there, let go of places that are broken, and ask for those that are free."""
        if self._clock() - self._looked < _LOOK_SECONDS:
            return
        self._looked = self._clock()
        self._roster.look(self._cluster.nodes())
        for slot in list(self._slots):
            gone = self._roster.gone(slot.place)
            if gone:
                self._lose(slot, SegmentFailure("node", gone, "node"))
            elif self._roster.draining(slot.place) and slot.job is None:
                self._drop(slot)
        held = {slot.place.key for slot in self._slots} | {
            node.id for slot in self._slots for node in slot.place.nodes if slot.place.kind != GPU
        }
        limit = self._resources.concurrent
        for place in self._roster.free(held):
            rests = self._clock() < self._faults.get(place.name, ("", 0.0))[1]
            if (limit is None or len(self._slots) < limit) and not rests and not self._live.is_suspect(place.name):
                self._slots.append(_Slot(place, self._cluster.reserve(place)))

    def _hand_out(self) -> bool:
        """Give free slots work. True where there is none left for any of them."""
        ready = [slot for slot in self._slots if slot.job is None and self._is_up(slot)]
        if ready and not self._launched:
            self._launched = True
            self._live.start("xla", len(self._slots), threads=max(1, int(self._resources.cpus)))
        answers = [self._give(slot) for slot in ready]
        return bool(answers) and all(answer == "none_left" for answer in answers)

    def _is_up(self, slot: _Slot) -> bool:
        if slot.gang is not None:
            return True
        try:
            hosts = slot.reserved.hosts()
        except HostLostError as lost:
            self._rest(slot, str(lost))
            self._drop(slot)
            return False
        if hosts is not None:
            slot.gang = Gang(hosts)
        return hosts is not None

    def _give(self, slot: _Slot) -> str:
        """Start the next segment on a free slot; else why there is none."""
        if self._live.is_suspect(slot.place.name) or self._roster.draining(slot.place):
            self._drop(slot)
            return "wait"
        job = self._live.next_job(slot.place.name, slot.place.kind)
        if isinstance(job, str):
            return job
        assert slot.gang is not None
        slot.job = job
        self._busy_at = self._clock()
        self._watchdog.start(slot.place.key, Path(job.folder) / "progress")
        try:
            slot.gang.start(self._processes(slot), {"job": asdict(job), "roots": self._roots})
        except HostLostError as lost:
            self._lose(slot, SegmentFailure("node", str(lost), "node"))
        return "given"

    def _processes(self, slot: _Slot) -> list[Process]:
        assert slot.gang is not None
        hosts = slot.gang.hosts
        addresses = [host.address for host in hosts]
        if slot.place.kind == GPU or self._slice is None:
            return [plain_process(addresses[0])]
        port = hosts[0].free_port()
        return plan_env(self._slice, addresses, self._resources.runtime, slices=self._resources.slices, port=port)

    def _listen(self, slot: _Slot) -> None:
        """Deal with what a slot's gang has to say."""
        if slot.job is None or slot.gang is None:
            return
        outcome = slot.gang.turn()
        if outcome is not None:
            self._deal_with(slot, slot.job, outcome)

    def _end_stalled(self) -> None:
        for key, seconds in self._watchdog.stalled():
            for slot in self._running:
                if slot.place.key == key and slot.gang is not None:
                    slot.gang.end()
                    self._close(slot, SegmentFailure("stalled", f"no progress for {seconds:.0f} s", "stalled"))

    def _deal_with(self, slot: _Slot, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Report):
            self._reported(slot, job, outcome)
        elif isinstance(outcome, Ended):
            self._free(slot)
            self._live.on_end(job.trial, job.segment)
        elif isinstance(outcome, Refused):
            if not self._live.state.has_reports:
                raise SweepError(outcome.message, hint=outcome.hint)
            self._rest(slot, outcome.message)
            self._lose(slot, SegmentFailure("node", outcome.message, "node"))
        elif outcome.kind == "node":
            self._lose(slot, outcome)
        else:
            self._close(slot, outcome)

    def _reported(self, slot: _Slot, job: Job, report: Report) -> None:
        """Pass it on, and the answer back. On a place that was told to go the segment ends here, at its checkpoint."""
        assert slot.gang is not None
        self._watchdog.alive(slot.place.key)
        go_on = self._live.on_report(job.trial, job.segment, report)
        if go_on and self._roster.draining(slot.place):
            slot.gang.end()
            self._close(slot, SegmentFailure("preempted", f"{slot.place.name} was told to go", "preempted"))
            self._drop(slot)
            return
        slot.gang.answer(go_on)

    def _close(self, slot: _Slot, failed: SegmentFailure) -> None:
        """What ran in a slot has ended badly."""
        job = self._free(slot)
        if job is None:
            return
        if failed.fingerprint == failed.kind:  # nobody's error: a process, a host or a slice that went
            self._live.on_loss(job.trial, job.segment, failed.message, kind=failed.kind)
        else:
            self._live.on_failure(job.trial, job.segment, failed)

    def _lose(self, slot: _Slot, failed: SegmentFailure) -> None:
        """The place has broken: what ran there goes on elsewhere, and the place comes back when it is whole."""
        self._close(slot, failed)
        self._drop(slot)

    def _rest(self, slot: _Slot, fault: str) -> None:
        """Ask for the place again only after a while."""
        self._faults[slot.place.name] = (fault, self._clock() + _REST_SECONDS)

    def _free(self, slot: _Slot) -> Job | None:
        self._watchdog.end(slot.place.key)
        job, slot.job = slot.job, None
        return job

    def _drop(self, slot: _Slot) -> None:
        """Let go of a place; its processes end with its actors."""
        self._free(slot)
        if slot in self._slots:
            self._slots.remove(slot)
        slot.reserved.release()


def plain_process(address: str) -> Process:
    """The one process of a trial on a GPU or a CPU: its devices are for Lightning to find."""
    return Process(0, address, 0, 0, 1, "plain", "", 0, 0)
