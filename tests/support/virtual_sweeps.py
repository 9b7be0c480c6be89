"""A sweep's controller over a journal in memory, driven by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.simulator import created_fields
from orchestrator.engine.virtual_cluster import MemoryLease, MemoryStore, VirtualHost, World
from orchestrator.journal import Event, Journal
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.training import Checkpoint, Job, Report


class RequestedStops(VirtualHost):
    """A machine on which these trials are to be stopped."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.stops: set[int] = set()

    def trials_to_stop(self) -> Iterable[int]:
        return self.stops

    def trial_stopped(self, trial: int) -> None:
        self.stops.discard(trial)


class VirtualSweep:
    """One driver of a sweep; `again` is the next one of the same journal."""

    def __init__(self, spec: SweepSpec, world: World | None = None) -> None:
        self.spec, self.world = spec, world or World(0)
        self.host = RequestedStops(self.world)
        self.journal = Journal.for_store(MemoryStore(self.world), MemoryLease(self.world))
        if not self.journal.length:
            self.journal.append("sweep.created", **created_fields(spec, None))
        run = RunDirectory(self.world_folder)
        self.controller = SweepController(spec, run, self.journal, self.host)
        self.controller.start("test", 1)

    @property
    def world_folder(self) -> Any:
        return self.host.trial_folder(0).parents[1]

    def again(self) -> VirtualSweep:
        """Return the driver that comes after this one has died."""
        return VirtualSweep(self.spec, self.world)

    @property
    def events(self) -> list[Event]:
        return list(self.journal.events())

    def job(self) -> Job:
        job = self.controller.next_job()
        assert isinstance(job, Job), job
        return job

    def report(self, job: Job, epoch: int, value: float) -> bool:
        """Report an epoch with its checkpoint, as a worker does. Returns whether the segment continues."""
        path = f"trials/{job.trial:04d}/checkpoints/epoch={epoch:04d}-segment={job.segment}.ckpt"
        self.world.files[path] = (10, "0" * 64)
        report = Report(epoch, {self.spec.objective.metric: value}, Checkpoint(path, 10, "0" * 64, epoch))
        return self.controller.on_report(job.trial, job.segment, report)
