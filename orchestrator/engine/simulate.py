"""The real sweep on a virtual clock and cluster: the same searcher, scheduler, state and journal, no training.

What a segment would report comes from a function of parameters and epoch, so a sweep takes milliseconds. Everything
random (durations, delays, faults) is drawn from one seed, which replays the run to the byte.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

from orchestrator.engine.curves import Curve, synthetic
from orchestrator.engine.failures import Failed
from orchestrator.engine.live import LiveSweep, Observer
from orchestrator.engine.virtual import CALM, Crash, Faults, MemoryRight, MemoryStore, VirtualHost, World
from orchestrator.errors import RunHeldError
from orchestrator.journal import Event, Journal
from orchestrator.journal.records import Line, parse
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.state import ENDED, SweepState
from orchestrator.training import Checkpoint, Job, Report

_RUN = RunDirectory(Path("/simulated"))
_SIZE = 1000  # bytes of a checkpoint
_GRACE_SECONDS = 8.0
_ORPHAN_SECONDS = 10.0
_AWAY_SECONDS = 30.0
_SLOTS_A_NODE = 2
_LIVES = 60  # of drivers; a sweep that needs more does not get on

Seconds = Callable[[Mapping[str, Any], int], float]


@dataclass(frozen=True)
class Simulated:
    """How a simulated sweep went: its ``journal`` to the byte, and in ``counters`` how often each fault came.

    ``violations`` holds a sentence for each promise of the engine that was broken. ``seconds`` are virtual.
    """

    journal: bytes
    counters: Counter[str]
    violations: list[str]
    seconds: float

    @cached_property
    def events(self) -> list[Event]:
        return events(self.journal)

    @cached_property
    def state(self) -> SweepState:
        return SweepState(self.events)


def events(journal: bytes) -> list[Event]:
    """The whole events in a journal's bytes. Raises JournalError where they are damaged."""
    lines = (Line(content, "the journal is damaged", 0) for content in BytesIO(journal))
    return [event for event, _ in parse(lines)]


def simulate(
    spec: SweepSpec,
    *,
    curve: Curve | None = None,
    seconds: Seconds | None = None,
    slots: int = 1,
    seed: int = 0,
    faults: Faults = CALM,
    observer: Observer | None = None,
) -> Simulated:
    """Run a sweep to its end, through as many drivers as the faults leave it.

    Args:
        spec: any valid one; no class in it is imported.
        curve: the metrics of an epoch (from 1), by parameters; by default `synthetic` for the spec's objective.
        seconds: how long an epoch takes, by parameters; by default one second. Give or take a tenth, in either case.
        slots: segments that run at once, two to a node.
        seed: fixes the cluster's timing and the faults. The search itself is fixed by the spec's own.
        faults: how often what goes wrong.
        observer: told of each event as it is written, as under any engine.

    Raises whatever the engine raises where it has a bug; JournalError where it cannot read what it wrote.
    """
    world = World(faults, seed)
    curve = curve or synthetic(spec.objective.metric, spec.objective.mode)
    cluster = _Cluster(spec, world, curve, seconds or (lambda params, epoch: 1.0), slots, observer)
    world.sleep = cluster.overtaken
    cluster.run_to_the_end()
    return Simulated(bytes(world.journal.content), world.counters, world.violations, world.clock - cluster.began)


class _Cluster:
    """Runs one driver after another until the sweep is complete."""

    def __init__(
        self, spec: SweepSpec, world: World, curve: Curve, seconds: Seconds, slots: int, observer: Observer | None
    ) -> None:
        self.spec, self.world, self.slots, self.observer = spec, world, slots, observer
        self.curve, self.seconds = curve, seconds
        self.began = world.clock
        self.told: dict[int, str] = {}
        self.answered: set[tuple[int, int]] = set()
        self.complete = False
        self._proven = True
        self._created: dict[str, Any] = {
            "format": 1,
            "spec": spec.model_dump(mode="json"),
            "seed": spec.seed,
            "versions": {},
        }

    def run_to_the_end(self) -> None:
        """Raises RuntimeError where the sweep does not get on."""
        while not self.complete:
            if self.world.deaths >= self.world.faults.deaths:
                self.world.calm()
            if self.world.deaths > _LIVES:
                raise RuntimeError("the sweep does not come to its end")
            self._live_once()
            self.world.deaths += 1

    def overtaken(self) -> None:
        """The driver sleeps; another takes over and comes to the end. What the sleeper does then has no effect."""
        self._proven = False
        self.world.deaths += 1
        self.world.pass_time(_AWAY_SECONDS)
        self.run_to_the_end()

    def _live_once(self) -> None:
        """One driver, from opening the journal to its end, by whatever cause."""
        world = self.world
        right, self._proven = MemoryRight(world, proven=self._proven), True
        driver: Driver | None = None
        try:
            journal = Journal.over(MemoryStore(world), right)
            journal.now = lambda: world.clock
            self._prepare(journal)
            driver = Driver(self, journal)
            self._check_survived(driver.live.state)
            if not driver.complete:
                driver.run()
        except Crash:
            if right.epoch == world.epoch:
                world.died()
                self._proven = world.rng.random() < 0.7
        except RunHeldError:
            world.counters["fenced off"] += 1
        except OSError as error:
            if driver:
                driver.give_up(error)
        self._over(driver, right)

    def _over(self, driver: Driver | None, right: MemoryRight) -> None:
        world = self.world
        if right.epoch != world.epoch:
            return  # it was taken over, and the sweep has ended without it
        if driver:
            driver.leave_orphans()
            self.complete = driver.complete
        world.asked = ""
        if not self.complete:
            world.pass_time(world.rng.uniform(0.5, _AWAY_SECONDS))
            self._damage()
        elif not world.counters["damage"]:
            self._check_files(driver)

    def _prepare(self, journal: Journal) -> None:
        """What launch and resume write before the engine starts."""
        if not journal.length:
            journal.append("sweep.created", **self._created)
        failed = [number for number, status in self.told.items() if status == "failed"]
        if failed and self.world.chance("retry"):
            for number in failed:
                del self.told[number]
                journal.append("trial.retried", trial=number)

    def _check_survived(self, state: SweepState) -> None:
        """Whatever anybody was told is still so."""
        for number, status in self.told.items():
            found = state.trials[number].status if number in state.trials else "unknown"
            if found != status:
                self.world.violations.append(f"trial {number} had {status}, and after a restart it is {found}")
        for number, epoch in self.answered:
            if number not in state.trials or epoch not in state.trials[number].reports:
                self.world.violations.append(f"epoch {epoch} of trial {number} was answered and is lost")

    def _check_files(self, driver: Driver | None) -> None:
        """Whatever the sweep still needs is there."""
        for trial in driver.live.state.trials.values() if driver else ():
            for held in trial.checkpoints.values():
                if self.world.files.get(held.path) != (held.size, held.sha256):
                    self.world.violations.append(f"{held.path} is not what was written")

    def _damage(self) -> None:
        """A checkpoint is lost, cut short or changed while nobody looks."""
        world = self.world
        if world.files and world.chance("damage"):
            path = world.rng.choice(sorted(world.files))
            kind = world.rng.choice(("lost", "short", "changed"))
            world.counters[f"checkpoint {kind}"] += 1
            size, _ = world.files.pop(path)
            if kind != "lost":
                world.files[path] = (size - (kind == "short"), "damaged")


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

    def __init__(self, cluster: _Cluster, journal: Journal) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._rng, self._chance = cluster.world.rng, cluster.world.chance
        self.live = LiveSweep(cluster.spec, _RUN, journal, VirtualHost(cluster.world), cluster.observer)
        full, rest = divmod(cluster.slots, _SLOTS_A_NODE)
        self._nodes = [Node(_SLOTS_A_NODE) for _ in range(full)] + [Node(rest) for _ in range(rest > 0)]
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def complete(self) -> bool:
        return self.live.state.status == "completed" and not self.live.state.waiting

    def run(self) -> None:
        """Until nothing is left to run, or a stop was asked for."""
        self.live.launched("simulated", self._cluster.slots)
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

    def _fill(self) -> None:
        """Give every free slot a segment."""
        while (node := next((n for n in self._nodes if n.up and len(n.busy) < n.slots), None)) is not None:
            job = self.live.next_job()
            if isinstance(job, str):
                return
            worker = Worker(job, self.live.state.trials[job.trial].params, self._nodes.index(node))
            node.busy.append(worker)
            self._begin(worker)

    def _begin(self, worker: Worker) -> None:
        origin = worker.job.checkpoint
        if origin is None:
            self._train(worker)
        elif self._world.files.get(origin["path"]) == (origin["size"], origin["sha256"]):
            worker.epoch = origin["epoch"]
            self._train(worker)
        else:
            failed = Failed("checkpoint", "it is not what was written", "checkpoint")
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
        sha256 = f"{self.live.journal.lease}-{worker.job.trial}-{name}".ljust(
            64, "0"
        )  # this writer's, and of full length
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
            failed = Failed("storage", "no space left", "storage")
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
        goes_on = self.live.reported(job.trial, job.segment, report)
        self._note(job.trial)
        self._cluster.answered.add((job.trial, report.epoch))
        if goes_on:
            self._train(worker)
        else:
            self._after(self._delay(), partial(self._ended, worker))

    def _reported_late(self, worker: Worker, report: Report) -> None:
        """A report that came already, or whose segment is gone."""
        self.live.reported(worker.job.trial, worker.job.segment, report)
        self._note(worker.job.trial)

    def _ended(self, worker: Worker) -> None:
        if self._gone(worker):
            self.live.ended(worker.job.trial, worker.job.segment)
            self._note(worker.job.trial)

    def _failed(self, worker: Worker, failed: Failed) -> None:
        if self._gone(worker):
            self.live.failed(worker.job.trial, worker.job.segment, failed)
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
                self.live.lost(one.job.trial, one.job.segment, f"{fault}, as was drawn", fault)
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
