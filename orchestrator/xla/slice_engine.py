"""Run segments on TPU slices, and on GPUs of the same cluster: one slot a place, with jobs from the controller.

Ray Tune is not used: a trial here is several processes on several hosts that start and fail together, and a trial of
Tune is one process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.engine.controller import SweepController
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.watchdog import Watchdog
from orchestrator.errors import SweepError, UsageError
from orchestrator.spec import SweepSpec
from orchestrator.spec.tpu_placement import GPU, kinds, trial_slice
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.process_env import Process, plan_env
from orchestrator.xla.slice_inventory import Node, Place, SliceInventory
from orchestrator.xla.slice_processes import Ended, Host, HostLostError, Outcome, Refused, WorkerGroup

PATIENCE = 600.0
"""Seconds without a usable place and without a running segment, before the sweep is paused."""
_UPDATE_SECONDS = 1.0
_TURN_SECONDS = 0.05
_RETRY_SECONDS = 20.0  # before a place whose hosts could not be started is reserved again


class Reservation(Protocol):
    """A place that was requested."""

    def hosts(self) -> Sequence[Host] | None:
        """Return its hosts by rank, once it is reserved; None before that. Raises HostLostError."""

    def release(self) -> None:
        """Release it."""


class Cluster(Protocol):
    """The operations of a cluster that the engine uses."""

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""

    def reserve(self, place: Place) -> Reservation:
        """Request all of a place."""

    def close(self) -> None:
        """Release everything."""


@dataclass
class _Slot:
    """A place that the sweep holds or has requested, and the ``job`` that runs there."""

    place: Place
    reservation: Reservation
    group: WorkerGroup | None = None
    job: Job | None = None
    is_told: bool = False  # the job, to stop at its next batch


def run(
    controller: SweepController,
    stop_requests: StopRequests,
    *,
    roots: list[str],
    address: str = "",
    patience: float = PATIENCE,
) -> None:
    """Run every segment on the cluster at ``address``, by default on the one that this machine is part of.

    Raises:
        UsageError: there is no cluster.
        SweepError: there is no usable place for ``patience`` seconds, or the sweep's first processes find other devices
            than planned.
    """
    from orchestrator.xla.ray_slices import SliceCluster

    cluster = SliceCluster(address or "auto")
    try:
        SliceEngine(controller, stop_requests, cluster, roots=roots, patience=patience).run()
    finally:
        cluster.close()


def check(spec: SweepSpec, *, local: bool) -> None:
    """Raise UsageError if a sweep's trials can be planned, but not run."""
    if local:
        raise UsageError(
            f"a local sweep cannot train on {spec.resources.tpu}",
            hint="without a TPU, use --set resources.tpu=null, or a rehearsal as in docs/tpu.md",
        )
    if spec.resources.runtime == "torch_tpu":
        raise UsageError(
            "TorchTPU's launch environment can be planned, but trials do not run on it yet",
            hint="sweep tpu plan shows the plan; use runtime: xla-spmd to train",
        )


class SliceEngine:
    """Runs one sweep on one cluster."""

    def __init__(
        self,
        controller: SweepController,
        stop_requests: StopRequests,
        cluster: Cluster,
        *,
        roots: list[str],
        patience: float = PATIENCE,
    ) -> None:
        self._controller, self._stop_requests, self._cluster = controller, stop_requests, cluster
        self._roots, self._patience = roots, patience
        self._resources = controller.spec.resources
        self._slice = trial_slice(self._resources)
        self._inventory = SliceInventory(self._resources)
        self._slots: list[_Slot] = []
        self._watchdog = Watchdog(controller.spec.recovery.stalled_after, controller.run.changed)
        self._updated_at = time.monotonic() - _UPDATE_SECONDS
        self._faults: dict[str, tuple[str, float]] = {}
        self._busy_at = time.monotonic()
        self._launched = False

    def run(self) -> None:
        """Run segments until none is left, or until a requested stop."""
        try:
            while not self._is_stopped():
                self._update_places()
                self._tell_to_stop()
                for slot in list(self._slots):
                    self._poll(slot)
                self._end_stalled()
                if self._assign_jobs() and not self._running:
                    return
                time.sleep(_TURN_SECONDS)
        finally:
            for slot in list(self._slots):
                self._drop(slot)

    @property
    def _running(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.job is not None]

    def _is_stopped(self) -> bool:
        """Return whether a requested stop is complete: the running segments have ended, or their time is up.

        Raises SweepError if nothing can be trained for too long.
        """
        controller = self._controller
        controller.stop_reason = controller.stop_reason or self._stop_requests.reason
        if self._running:
            self._busy_at = time.monotonic()
        elif not controller.stop_reason and time.monotonic() - self._busy_at > self._patience:
            required = " or ".join(kinds(self._resources))
            raise SweepError(
                f"nothing to train on for {self._patience:.0f} s ({required}): {self._describe()}",
                hint="sweep resume continues the sweep when it is available again",
            )
        return bool(controller.stop_reason) and (not self._running or self._stop_requests.overdue)

    def _describe(self) -> str:
        """Describe the slices, and the places that could not be used."""
        faults = [f"{name} cannot be used: {fault}" for name, (fault, _) in self._faults.items()]
        return "; ".join([*([self._inventory.describe()] if self._slice else []), *faults]) or "there is none"

    def _update_places(self) -> None:
        """Read the cluster's nodes, drop places that are broken, and reserve those that are free."""
        if time.monotonic() - self._updated_at < _UPDATE_SECONDS:
            return
        self._updated_at = time.monotonic()
        self._inventory.update(self._cluster.nodes())
        for slot in list(self._slots):
            loss = self._inventory.loss(slot.place)
            if loss:
                self._lose(slot, SegmentFailure("node", loss, "node"))
            elif self._inventory.draining(slot.place) and slot.job is None:
                self._drop(slot)
        occupied = {slot.place.key for slot in self._slots} | {
            node.id for slot in self._slots for node in slot.place.nodes if slot.place.kind != GPU
        }
        limit = self._resources.concurrent
        for place in self._inventory.free(occupied):
            is_paused = time.monotonic() < self._faults.get(place.name, ("", 0.0))[1]
            is_full = limit is not None and len(self._slots) >= limit
            if not is_full and not is_paused and not self._controller.is_suspect(place.name):
                self._slots.append(_Slot(place, self._cluster.reserve(place)))

    def _assign_jobs(self) -> bool:
        """Start segments on free slots. Return whether no job is left for any of them."""
        ready = [slot for slot in self._slots if slot.job is None and self._is_up(slot)]
        if ready and not self._launched:
            self._launched = True
            self._controller.start("xla", len(self._slots), threads=max(1, int(self._resources.cpu_count)))
        results = [self._start_next(slot) for slot in ready]
        return bool(results) and all(result == "none_left" for result in results)

    def _is_up(self, slot: _Slot) -> bool:
        if slot.group is not None:
            return True
        try:
            hosts = slot.reservation.hosts()
        except HostLostError as lost:
            self._pause(slot, str(lost))
            self._drop(slot)
            return False
        if hosts is not None:
            slot.group = WorkerGroup(hosts)
        return hosts is not None

    def _start_next(self, slot: _Slot) -> str:
        """Start the next segment on a free slot; return ``started``, else why there is none."""
        if self._controller.is_suspect(slot.place.name) or self._inventory.draining(slot.place):
            self._drop(slot)
            return "wait"
        job = self._controller.next_job(slot.place.name, slot.place.kind)
        if isinstance(job, str):
            return job
        assert slot.group is not None
        slot.job, slot.is_told = job, False
        self._busy_at = time.monotonic()
        self._watchdog.start(slot.place.key, Path(job.folder) / "progress")
        try:
            slot.group.start(self._processes(slot), job, self._roots)
        except HostLostError as lost:
            self._lose(slot, SegmentFailure("node", str(lost), "node"))
        return "started"

    def _processes(self, slot: _Slot) -> list[Process]:
        assert slot.group is not None
        hosts = slot.group.hosts
        addresses = [host.address for host in hosts]
        if slot.place.kind == GPU or self._slice is None:
            return [plain_process(addresses[0])]
        port = hosts[0].free_port()
        return plan_env(self._slice, addresses, self._resources.runtime, slices=self._resources.slices, port=port)

    def _tell_to_stop(self) -> None:
        """Tell the segments to stop at their next batch that are to: of the sweep, of a trial, on a leaving place."""
        for slot in self._running:
            assert slot.job is not None
            must_stop = self._controller.must_stop(slot.job.trial) or self._inventory.draining(slot.place)
            if must_stop and slot.group is not None and not slot.is_told:
                slot.is_told = True
                slot.group.stop()

    def _poll(self, slot: _Slot) -> None:
        """Handle the next outcome of a slot's processes."""
        if slot.job is None or slot.group is None:
            return
        outcome = slot.group.next_outcome()
        if outcome is not None:
            self._handle(slot, slot.job, outcome)

    def _end_stalled(self) -> None:
        for key, seconds in self._watchdog.stalled():
            for slot in self._running:
                if slot.place.key == key and slot.group is not None:
                    slot.group.end()
                    self._close(slot, SegmentFailure("stalled", f"no progress for {seconds:.0f} s", "stalled"))

    def _handle(self, slot: _Slot, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Report):
            self._handle_report(slot, job, outcome)
        elif isinstance(outcome, Interim):
            self._watchdog.alive(slot.place.key)
            self._stop_requests.note_saving(outcome.saving)
            self._controller.on_interim(job.trial, job.segment, outcome)
        elif isinstance(outcome, Ended):
            self._handle_end(slot, job, outcome)
        elif isinstance(outcome, Refused):
            if not self._controller.state.has_reports:
                raise SweepError(outcome.message, hint=outcome.hint)
            self._pause(slot, outcome.message)
            self._lose(slot, SegmentFailure("node", outcome.message, "node"))
        elif outcome.kind == "node":
            self._lose(slot, outcome)
        else:
            self._close(slot, outcome)

    def _handle_end(self, slot: _Slot, job: Job, end: Ended) -> None:
        """Record the end of a segment. One that stopped since its place is being preempted resumes elsewhere."""
        if not end.is_stopped:
            self._free(slot)
            self._controller.on_end(job.trial, job.segment)
        elif self._controller.on_stop(job.trial, job.segment):
            self._free(slot)
        else:
            self._leave(slot)

    def _leave(self, slot: _Slot) -> None:
        """Record that the segment has left a place that is being preempted, and drop the place."""
        self._close(slot, SegmentFailure("preempted", f"{slot.place.name} is being preempted", "preempted"))
        self._drop(slot)

    def _handle_report(self, slot: _Slot, job: Job, report: Report) -> None:
        """Pass the report to the controller and answer it. On a place being preempted, end the segment here."""
        assert slot.group is not None
        self._watchdog.alive(slot.place.key)
        self._stop_requests.note_saving(report.saving)
        is_continued = self._controller.on_report(job.trial, job.segment, report)
        if is_continued and self._inventory.draining(slot.place):
            slot.group.end()
            self._leave(slot)
            return
        slot.group.answer(is_continued)

    def _close(self, slot: _Slot, failed: SegmentFailure) -> None:
        """Record that the segment in a slot has failed."""
        job = self._free(slot)
        if job is None:
            return
        if failed.fingerprint == failed.kind:  # the loss of a process, a host or a slice, not an error of the code
            self._controller.on_loss(job.trial, job.segment, failed.message, kind=failed.kind)
        else:
            self._controller.on_failure(job.trial, job.segment, failed)

    def _lose(self, slot: _Slot, failed: SegmentFailure) -> None:
        """Record the failure and drop the place; it is reserved again when it is complete."""
        self._close(slot, failed)
        self._drop(slot)

    def _pause(self, slot: _Slot, fault: str) -> None:
        """Delay the next reservation of the place."""
        self._faults[slot.place.name] = (fault, time.monotonic() + _RETRY_SECONDS)

    def _free(self, slot: _Slot) -> Job | None:
        self._watchdog.end(slot.place.key)
        job, slot.job = slot.job, None
        return job

    def _drop(self, slot: _Slot) -> None:
        """Release a place; its processes end with its actors."""
        self._free(slot)
        if slot in self._slots:
            self._slots.remove(slot)
        slot.reservation.release()


def plain_process(address: str) -> Process:
    """Return the plan of a trial of one process on a GPU or a CPU, whose devices Lightning selects."""
    return Process(0, address, 0, 0, 1, "plain", "", 0, 0)
