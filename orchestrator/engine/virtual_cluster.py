"""A cluster that is not there: nodes, slots and workers on the virtual clock, and the driver that they report to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.engine.controller import Observer, SweepController
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.learning_curves import Curve
from orchestrator.engine.virtual_host import Crash, VirtualHost, World
from orchestrator.errors import RunHeldError
from orchestrator.journal import Journal
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.state import ENDED
from orchestrator.training import Checkpoint, Job, Report

_RUN = RunDirectory(Path("/simulated"))
_SIZE = 1000  # bytes of a checkpoint
_GRACE_SECONDS = 8.0
_ORPHAN_SECONDS = 10.0
_SLOTS_A_NODE = 2

Seconds = Callable[[Mapping[str, Any], int], float]
"""How long an epoch takes, by parameters and epoch."""


@dataclass
class Cluster:
    """What every driver of a sweep finds; ``told`` and ``answered``: what the world knows of trials and epochs."""

    spec: SweepSpec
    world: World
    curve: Curve
    seconds: Seconds
    slots: int
    observer: Observer | None
    told: dict[int, str] = field(default_factory=dict)
    answered: set[tuple[int, int]] = field(default_factory=set)


@dataclass(eq=False)
class Worker:
    """One segment as it runs. ``epoch`` counts what it has finished."""

    job: Job
    params: Mapping[str, Any]
    node: int
    epoch: int = 0
    alive: bool = True
    pending: tuple[str, tuple[int, str]] | None = None  # the checkpoint that it writes now


@dataclass(eq=False)
class Node:
    """A machine with a few slots."""

    slots: int
    up: bool = True
    busy: list[Worker] = field(default_factory=list)


class Driver:
    """One driver's life: a live sweep and the messages of its workers, in the order that they arrive."""

    def __init__(self, cluster: Cluster, journal: Journal) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._rng, self._chance = cluster.world.rng, cluster.world.chance
        self.live = SweepController(cluster.spec, _RUN, journal, VirtualHost(cluster.world), cluster.observer)
        full, rest = divmod(cluster.slots, _SLOTS_A_NODE)
        self._nodes = [Node(_SLOTS_A_NODE) for _ in range(full)] + [Node(rest) for _ in range(rest > 0)]
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def complete(self) -> bool:
        return self.live.state.status == "completed" and not self.live.state.interrupted

    def run(self) -> None:
        """Until nothing is left to run, or a stop was asked for."""
        self.live.start("simulated", self._cluster.slots)
        self._fill()
        while self._queue and not self._overdue():
            at, _, arrive = heapq.heappop(self._queue)
            self._world.pass_time(max(0.0, at - self._world.clock))
            arrive()
            self._ask()
            self._fill()
        self.live.close()

    def give_up(self, error: OSError) -> None:
        """The journal could not be written and somebody wanted an end."""
        self.live.stop_reason = self.live.stop_reason or str(error)
        try:
            self.live.close()
        except (OSError, RunHeldError):
            self._world.counters["ended without a word"] += 1
        except Crash:
            self._world.died()

    def leave_orphans(self) -> None:
        """Workers outlive their driver by seconds, in which they may finish a checkpoint."""
        if not self._world.faults.crash:
            return
        for worker in (worker for node in self._nodes for worker in node.busy if worker.alive):
            if worker.pending and self._rng.random() < 0.5:
                self._world.counters["orphaned checkpoint"] += 1
                at = self._world.clock + self._rng.uniform(0.0, _ORPHAN_SECONDS)
                self._world.orphans.append((at, *worker.pending))

    def _after(self, seconds: float, arrive: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self._world.clock + seconds, next(self._order), arrive))

    def _overdue(self) -> bool:
        return bool(self._world.asked) and self._world.clock > self._world.asked_at + _GRACE_SECONDS

    def _ask(self) -> None:
        """Somebody may want an end."""
        if not self._world.asked and self._chance("stop"):
            self._world.asked, self._world.asked_at = "SIGINT", self._world.clock
        if self._chance("end") and self.live.state.trials:
            self._world.to_stop.add(self._rng.randrange(len(self.live.state.trials)))
        if self.live.state.set_aside and self._chance("promote"):
            self._world.to_promote.add(self._rng.choice(sorted(self.live.state.set_aside)))

    def _fill(self) -> None:
        """Give every free slot a segment."""
        while (node := next((n for n in self._nodes if n.up and len(n.busy) < n.slots), None)) is not None:
            job = self.live.next_job()
            if isinstance(job, str):
                return
            worker = Worker(job, self._params(job.trial), self._nodes.index(node))
            node.busy.append(worker)
            self._begin(worker)

    def _params(self, number: int) -> Mapping[str, Any]:
        trial = self.live.state.trials[number]
        repeat = number - trial.configuration
        return {**trial.params, "repeat": repeat} if repeat else trial.params

    def _begin(self, worker: Worker) -> None:
        origin = worker.job.checkpoint
        if origin is None:
            self._train(worker)
        elif self._world.files.get(origin["path"]) == (origin["size"], origin["sha256"]):
            worker.epoch = origin["epoch"]
            self._train(worker)
        else:
            failed = SegmentFailure("checkpoint", "it is not what was written", "checkpoint")
            self._after(0.1, partial(self._failed, worker, failed))

    def _train(self, worker: Worker) -> None:
        """The next epoch, or the end; or something goes wrong."""
        epoch, world = worker.epoch + 1, self._world
        if epoch > worker.job.trainer["max_epochs"]:
            self._after(self._delay(), partial(self._ended, worker))
            return
        seconds = self._cluster.seconds(worker.params, epoch) * self._rng.uniform(0.9, 1.1)
        name = f"epoch={epoch:04d}-segment={worker.job.segment}"
        path = f"trials/{worker.job.trial:04d}/checkpoints/{name}.ckpt"
        # This writer's, and of full length.
        sha256 = f"{self.live.journal.lease}-{worker.job.trial}-{name}".ljust(64, "0")
        checkpoint = Checkpoint(path, _SIZE, sha256, epoch)
        worker.pending = (path, (_SIZE, checkpoint.sha256))
        report = Report(epoch, self._cluster.curve(worker.params, epoch), checkpoint)
        fault = next((fault for fault in ("lost", "memory", "node") if self._chance(fault)), "")
        if fault:
            self._after(seconds * self._rng.random(), partial(self._breaks, worker, fault, report))
        else:
            self._after(seconds, partial(self._published, worker, report))
        worker.epoch = epoch
        if world.full and fault != "node":
            world.counters["checkpoint without room"] += 1

    def _published(self, worker: Worker, report: Report) -> None:
        """The checkpoint is on the disk, and its report is on its way."""
        if not worker.alive:
            return
        if self._world.full:
            failed = SegmentFailure("storage", "no space left", "storage")
            self._after(self._delay(), partial(self._failed, worker, failed))
            return
        assert worker.pending
        self._world.files[worker.pending[0]] = worker.pending[1]
        worker.pending = None
        delay = self._delay()
        self._after(delay, partial(self._reported, worker, report))
        if self._chance("twice"):
            self._after(delay + 3.0 * self._rng.random(), partial(self._reported_late, worker, report))

    def _delay(self) -> float:
        return self._rng.uniform(0.5, 5.0) if self._chance("slow") else 0.01 * self._rng.random()

    def _reported(self, worker: Worker, report: Report) -> None:
        job = worker.job
        if not worker.alive:
            return
        goes_on = self.live.on_report(job.trial, job.segment, report)
        self._note(job.trial)
        self._cluster.answered.add((job.trial, report.epoch))
        if goes_on:
            self._train(worker)
        else:
            self._after(self._delay(), partial(self._ended, worker))

    def _reported_late(self, worker: Worker, report: Report) -> None:
        """A report that came already, or whose segment is gone."""
        self.live.on_report(worker.job.trial, worker.job.segment, report)
        self._note(worker.job.trial)

    def _ended(self, worker: Worker) -> None:
        if self._gone(worker):
            self.live.on_end(worker.job.trial, worker.job.segment)
            self._note(worker.job.trial)

    def _failed(self, worker: Worker, failed: SegmentFailure) -> None:
        if self._gone(worker):
            self.live.on_failure(worker.job.trial, worker.job.segment, failed)
            self._note(worker.job.trial)

    def _gone(self, worker: Worker) -> bool:
        """Free its slot; False where that was done."""
        was, worker.alive = worker.alive, False
        if was:
            self._nodes[worker.node].busy.remove(worker)
        return was

    def _breaks(self, worker: Worker, fault: str, report: Report) -> None:
        """The worker, or its node, is lost; a report that it had sent may come after the news."""
        if not worker.alive:
            return
        if worker.pending and self._chance("late"):
            self._world.files[worker.pending[0]] = worker.pending[1]
            self._after(5.0 * self._rng.random(), partial(self._reported_late, worker, report))
        lost = [worker]
        if fault == "node":
            lost = list(self._nodes[worker.node].busy)
            self._lose_node(self._nodes[worker.node])
        for one in lost:
            if self._gone(one):
                self.live.on_loss(one.job.trial, one.job.segment, f"{fault}, as was drawn", fault)
                self._note(one.job.trial)

    def _lose_node(self, node: Node) -> None:
        node.up = False
        others = any(other.up for other in self._nodes)
        if not others or self._rng.random() < 0.7:
            self._after(self._rng.uniform(1.0, 60.0), partial(setattr, node, "up", True))

    def _note(self, trial: int) -> None:
        """What the world has been told of a trial's end."""
        status = self.live.state.trials[trial].status
        if status in ENDED:
            self._cluster.told[trial] = status
