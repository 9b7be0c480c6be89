"""Simulate a sweep through as many drivers as its faults take, and check the engine's promises at each restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from orchestrator.engine import simulator
from orchestrator.engine.controller import Observer
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.learning_curves import Curve, synthetic
from orchestrator.engine.simulator import AWAY_SECONDS, created_fields, one_second
from orchestrator.engine.virtual_cluster import (
    BETWEEN_REPORTS,
    Cluster,
    Driver,
    Places,
    Seconds,
    Worker,
    every_span,
    trial_path,
)
from orchestrator.errors import RunHeldError, UsageError
from orchestrator.journal import Journal
from orchestrator.policies.extend_limits import More, extension
from orchestrator.progress import value
from orchestrator.spec import SweepSpec
from orchestrator.state import ENDED, SweepState
from orchestrator.testing.faults import CALM, Crash, Faults, FaultyHost, FaultyLease, FaultyStore, FaultyWorld
from orchestrator.training import Checkpoint, Interim, Report

_MAX_LIVES = 60  # of drivers beyond those that the faults kill; a sweep that needs more makes no progress
_GRACE_SECONDS = 8.0
_ORPHAN_SECONDS = 10.0
_SLOTS_PER_NODE = 2


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    """A sweep simulated with faults.

    Args:
        journal: its bytes.
        live: the state as the last driver had it.
        seconds: virtual seconds from launch to end.
        counters: how often each fault occurred.
        violations: a sentence for each promise of the engine that was broken.
    """

    counters: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def simulate(
    spec: SweepSpec,
    *,
    curve: Curve | None = None,
    seconds: Seconds | None = None,
    slots: int = 1,
    seed: int = 0,
    faults: Faults = CALM,
    observer: Observer | None = None,
    more: More | None = None,
    warm: Mapping[str, Any] | None = None,
    places: Places = every_span,
) -> Simulated:
    """Run a sweep to its end, as `orchestrator.engine.simulator.simulate` does, with faults.

    Args:
        spec: any valid one; no class in it is imported.
        curve: the metrics at a progress, in spans, by parameters.
        seconds: until the n-th report, by parameters.
        slots: segments that run at once, two to a node.
        seed: fixes the timing and the faults.
        faults: how often what goes wrong.
        observer: called with the state and each event. If it raises `Crash`, the driver dies there.
        more: how the sweep is extended once it has ended.
        warm: the fields of the event ``sweep.warmed``, if it starts from earlier sweeps.
        places: where trials report, in spans of progress.

    Raises:
        RuntimeError: The sweep makes no progress.
        JournalError: The engine cannot read what it wrote.
    """
    world = FaultyWorld(faults, seed)
    curve, seconds = curve or synthetic(spec.objective.metric, spec.objective.mode), seconds or one_second
    began = world.clock
    lives = _Lives(FaultyCluster(spec, world, curve, seconds, slots, observer, places), more, warm)
    world.sleep = lives.overtake
    lives.run_to_end()
    return Simulated(bytes(world.journal), lives.state, world.clock - began, world.counters, world.violations)


@dataclass
class FaultyCluster(Cluster):
    """What every driver of a sweep is given, and what the engine has promised so far.

    Args:
        spec: the sweep.
        world: survives the drivers.
        curve: metrics by parameters and progress.
        seconds: until the n-th report, by parameters.
        slots: segments that run at once.
        observer: called with each event.
        place: where trials report.
        ended: status of each trial that has ended.
        acknowledged: trial and progress of each report that was answered.
        interims: trial → path of its checkpoint between two reports that the engine has on record.
    """

    world: FaultyWorld
    ended: dict[int, str] = field(default_factory=dict)
    acknowledged: set[tuple[int, float]] = field(default_factory=set)
    interims: dict[int, str] = field(default_factory=dict)


class FaultyDriver(Driver):
    """A driver whose workers and nodes are lost, and whose messages are late."""

    _cluster: FaultyCluster
    _world: FaultyWorld

    def __init__(self, cluster: FaultyCluster, journal: Journal) -> None:
        super().__init__(cluster, journal, FaultyHost(cluster.world))
        self._chance = cluster.world.chance
        full, rest = divmod(cluster.slots, _SLOTS_PER_NODE)
        self._node_slots = [_SLOTS_PER_NODE] * full + [rest] * (rest > 0)
        self._down: set[int] = set()

    def abandon(self, error: OSError) -> None:
        """End a driver that cannot write the journal and is asked to stop."""
        if self.closes:
            self._world.counters["ended without a record"] += 1
            return
        self.controller.stop_reason = self.controller.stop_reason or str(error)
        try:
            self.controller.close()
        except (OSError, RunHeldError):
            self._world.counters["ended without a record"] += 1
        except Crash:
            self._world.lose_driver()

    def leave_orphans(self) -> None:
        """Let workers outlive their driver by seconds, in which they may finish a checkpoint."""
        if not self._world.faults.crash:
            return
        for worker in sorted(self._workers, key=lambda worker: worker.node):
            if worker.pending and self._rng.random() < 0.5:
                self._world.counters["orphaned checkpoint"] += 1
                at = self._world.clock + self._rng.uniform(0.0, _ORPHAN_SECONDS)
                self._world.orphans.append((at, *worker.pending))

    def is_overdue(self) -> bool:
        """Return whether the grace period after a stop request is over."""
        world = self._world
        return bool(world.stop_reason) and world.clock > world.stop_requested_at + _GRACE_SECONDS

    def after_event(self) -> None:
        """Draw requests."""
        world, state = self._world, self.controller.state
        if not world.stop_reason and self._chance("stop"):
            world.stop_reason, world.stop_requested_at = "SIGINT", world.clock
            self._stop_between_reports(self._workers)
        if self._chance("end") and state.trials:
            trial = self._rng.randrange(len(state.trials))
            world.to_stop.add(trial)
            self._stop_between_reports([worker for worker in self._workers if worker.job.trial == trial])
        if state.set_aside and self._chance("promote"):
            world.to_promote.add(self._rng.choice(sorted(state.set_aside)))

    def free_node(self) -> int | None:
        """Return the first node that is up and has a free slot."""
        used = Counter(worker.node for worker in self._workers)
        nodes = enumerate(self._node_slots)
        return next((node for node, slots in nodes if node not in self._down and used[node] < slots), None)

    def delay(self) -> float:
        """Return the seconds that a message takes."""
        return self._rng.uniform(0.5, 5.0) if self._chance("slow") else super().delay()

    def _stop_between_reports(self, workers: list[Worker]) -> None:
        """Let workers notice that they are to stop, each after its own batch."""
        for worker in list(workers) if self._world.faults.interim else ():
            self.schedule(2.0 * self._rng.random(), partial(self._stop, worker))

    def _stop(self, worker: Worker) -> None:
        """End a segment with a checkpoint between two reports, if it still trains."""
        if worker in self._workers and worker.pending and not self._world.full:
            self._save_interim(worker, worker.reports)
            if worker in self._workers:
                self._workers.remove(worker)
                self.controller.on_stop(worker.job.trial, worker.job.segment)
                self._note(worker.job.trial)

    def _save_interim(self, worker: Worker, epoch: int) -> None:
        """Save a checkpoint on the way to the report of that number, if the worker is still on it."""
        if worker not in self._workers or worker.reports != epoch or not worker.pending or self._world.full:
            return
        job, progress = worker.job, self.between(worker)
        batch = f"{BETWEEN_REPORTS}{round(self._world.clock * 1e3) % 10**6:06d}"
        name = f"epoch={epoch - 1:04d}{batch}-segment={job.segment}"
        path = f"{trial_path(job.trial)}/checkpoints/{name}.ckpt"
        sha256 = f"{self.controller.journal.lease}-{job.trial}-{name}".ljust(64, "0")[:64]
        size = worker.pending[1][0]
        self._world.files[path], self._world.saved_at[path] = (size, sha256), progress
        fields = {"epoch": epoch - 0.5, **self.measures(progress)}
        interim = Interim(checkpoint=Checkpoint(path, size, sha256, fields["epoch"]), **fields)
        self._world.counters["checkpoint between reports"] += 1
        if self.controller.on_interim(job.trial, job.segment, interim):
            self._cluster.interims[job.trial] = path

    def _check_origin(self, worker: Worker) -> None:
        """Check that a segment starts from the newest checkpoint or a newer one, unless something has spoilt that.

        A driver that dies has a newer one on record that nobody was told of. A takeover starts from another trial's
        checkpoint, and the trial's own count no longer.
        """
        newest, origin = self._cluster.interims.get(worker.job.trial), (worker.job.checkpoint or {}).get("path", "")
        if origin and not origin.startswith(trial_path(worker.job.trial) + "/"):
            self._cluster.interims.pop(worker.job.trial, None)
            return
        spoilt, saved_at = any(self._world.counters[fault] for fault in ("damage", "memory")), self._world.saved_at
        if newest is not None and not spoilt and (not origin or saved_at[origin] < saved_at[newest]):
            text = f"trial {worker.job.trial} starts from {origin or 'nothing'}, and not from {newest}"
            self._world.violations.append(text)

    def begin(self, worker: Worker) -> None:
        """Start a segment, which fails if its checkpoint is damaged."""
        self._check_origin(worker)
        origin = worker.job.checkpoint
        if origin is None or self._world.files.get(origin["path"]) == (origin["size"], origin["sha256"]):
            super().begin(worker)
        else:
            failure = SegmentFailure("checkpoint", "it is not what was written", "checkpoint")
            self.schedule(0.1, partial(self._fail, worker, failure))

    def schedule_checkpoint(self, worker: Worker, report: Report, seconds: float) -> None:
        """Write the epoch's checkpoint, unless the worker or its node is lost before."""
        fault = next((fault for fault in ("lost", "memory", "node", "user") if self._chance(fault)), "")
        if fault == "user":
            failure = SegmentFailure("user", "ValueError: as was drawn", f"trial {worker.job.trial}")
            self.schedule(seconds * self._rng.random(), partial(self._fail, worker, failure))
        elif fault:
            self.schedule(seconds * self._rng.random(), partial(self._lose, worker, fault, report))
        else:
            super().schedule_checkpoint(worker, report, seconds)
        if self._chance("interim"):
            self.schedule(seconds * self._rng.random(), partial(self._save_interim, worker, worker.reports))
        if self._world.full and fault != "node":
            self._world.counters["checkpoint without room"] += 1

    def write_checkpoint(self, worker: Worker, report: Report) -> float:
        """Write the pending checkpoint, if the worker still runs and the disk has room."""
        if worker not in self._workers:
            return 0.0
        if self._world.full:
            failure = SegmentFailure("storage", "no space left", "storage")
            self.schedule(self.delay(), partial(self._fail, worker, failure))
            return 0.0
        delay = super().write_checkpoint(worker, report)
        if self._chance("twice"):
            self.schedule(delay + 3.0 * self._rng.random(), partial(self._report_late, worker, report))
        return delay

    def report(self, worker: Worker, report: Report) -> None:
        """Pass a report to the controller, if the worker still runs, and note the promise."""
        if worker in self._workers:
            super().report(worker, report)
            self._note(worker.job.trial)
            progress = value(asdict(report), self._cluster.spec.progress.unit)
            assert progress is not None
            self._cluster.acknowledged.add((worker.job.trial, progress))

    def end(self, worker: Worker) -> None:
        """End a segment that returned, unless its worker was lost."""
        if worker in self._workers:
            super().end(worker)
            self._note(worker.job.trial)

    def _report_late(self, worker: Worker, report: Report) -> None:
        """Pass on a report that has arrived before, or whose segment is gone."""
        self.controller.on_report(worker.job.trial, worker.job.segment, report)
        self._note(worker.job.trial)

    def _fail(self, worker: Worker, failure: SegmentFailure) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self.controller.on_failure(worker.job.trial, worker.job.segment, failure)
            self._note(worker.job.trial)

    def _lose(self, worker: Worker, fault: str, report: Report) -> None:
        """Lose the worker, or its node; a report that it had sent may arrive after the loss."""
        if worker not in self._workers:
            return
        if worker.pending and self._chance("late"):
            self._world.files[worker.pending[0]] = worker.pending[1]
            self.schedule(5.0 * self._rng.random(), partial(self._report_late, worker, report))
        lost = [worker]
        if fault == "node":
            lost = [other for other in self._workers if other.node == worker.node]
            self._lose_node(worker.node)
        for one in lost:
            if one in self._workers:
                self._workers.remove(one)
                self.controller.on_loss(one.job.trial, one.job.segment, f"{fault}, as was drawn", fault)
                self._note(one.job.trial)

    def _lose_node(self, node: int) -> None:
        self._down.add(node)
        if len(self._down) == len(self._node_slots) or self._rng.random() < 0.7:
            self.schedule(self._rng.uniform(1.0, 60.0), partial(self._down.discard, node))

    def _note(self, trial: int) -> None:
        """Note the status of a trial that has ended: it must survive every restart."""
        state = self.controller.state.trials[trial]
        if state.status in ENDED:
            self._cluster.ended[trial] = state.status
        if state.interim is None:
            self._cluster.interims.pop(trial, None)


class _Lives:
    """Runs one driver after another until the sweep is complete."""

    def __init__(self, cluster: FaultyCluster, more: More | None, warm: Mapping[str, Any] | None) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._more, self._warm = more, warm
        self.state = SweepState()
        self.complete = False
        self._proven = True
        self._most = cluster.world.faults.deaths + _MAX_LIVES

    def run_to_end(self) -> None:
        """Run drivers until the sweep is complete. Raises RuntimeError if it makes no progress."""
        world = self._world
        while not self.complete:
            if world.deaths >= world.faults.deaths:
                world.calm()
            if world.deaths > self._most:
                raise RuntimeError("the sweep does not end")
            self._run_driver()
            world.deaths += 1

    def overtake(self) -> None:
        """Let other drivers complete the sweep while one sleeps; what the sleeper does then has no effect."""
        self._proven = False
        self._world.deaths += 1
        self._world.pass_time(AWAY_SECONDS)
        self.run_to_end()

    def _run_driver(self) -> None:
        """Run one driver, from opening the journal to its end."""
        world = self._world
        lease, self._proven = FaultyLease(world, proven=self._proven), True
        driver: FaultyDriver | None = None
        crashed = False
        try:
            journal = Journal.for_store(FaultyStore(world), lease)
            journal.now = lambda: world.clock
            self._prepare(journal)
            driver = FaultyDriver(self._cluster, journal)
            self._check_promises(driver.controller.state)
            if not driver.complete:
                driver.run()
        except Crash:
            crashed = True
            if lease.epoch == world.epoch:
                world.lose_driver()
                self._proven = world.rng.random() < 0.7
        except RunHeldError:
            world.counters["fenced off"] += 1
        except OSError as error:
            if driver:
                driver.abandon(error)
        if lease.epoch == world.epoch:  # else another driver has ended the sweep meanwhile
            self._after(driver, crashed=crashed)

    def _after(self, driver: FaultyDriver | None, *, crashed: bool) -> None:
        world = self._world
        if driver:
            driver.leave_orphans()
            # A driver that dies while it writes the last record leaves it to the next to find that all is done.
            self.state = driver.controller.state
            self.complete = driver.complete and not crashed and not self._is_to_be_extended(self.state)
        world.stop_reason = ""
        if not self.complete:
            world.pass_time(world.rng.uniform(0.5, AWAY_SECONDS))
            self._damage()
        elif not world.counters["damage"]:
            self._check_files()

    def _prepare(self, journal: Journal) -> None:
        """Write what launch, resume, retry and extend write before the engine starts."""
        if not journal.length:
            journal.append("sweep.created", **created_fields(self._cluster.spec, self._warm))
        if self._warm and journal.length == 1:
            journal.append("sweep.warmed", **self._warm)
        failed = [number for number, status in self._cluster.ended.items() if status == "failed"]
        if failed and self._world.chance("retry"):
            for number in failed:
                del self._cluster.ended[number]
                journal.append("trial.retried", trial=number)
        if self._more is not None:
            self._extend(journal, SweepState(journal.events()))

    def _is_to_be_extended(self, state: SweepState) -> bool:
        return self._more is not None and state.spec == state.created.get("spec")

    def _extend(self, journal: Journal, state: SweepState) -> None:
        if self._more is None or state.status != "completed" or not self._is_to_be_extended(state):
            return
        try:
            fields = extension(state, self._more)
        except UsageError:  # no trial could continue
            self._more = None
            return
        for number in fields["trials"]:
            self._cluster.ended.pop(number, None)
        journal.append("sweep.extended", **fields)

    def _check_promises(self, state: SweepState) -> None:
        """Check that ended trials and answered reports are still there."""
        violations = self._world.violations
        for number, before in self._cluster.ended.items():
            after = state.trials[number].status if number in state.trials else "unknown"
            if after != before:
                violations.append(f"trial {number} had {before}, and after a restart it is {after}")
        for number, progress in self._cluster.acknowledged:
            if number not in state.trials or progress not in state.trials[number].reports:
                violations.append(f"the report at {progress} of trial {number} was answered and is lost")

    def _check_files(self) -> None:
        """Check that every checkpoint that the sweep still needs is intact."""
        for trial in self.state.trials.values():
            for checkpoint in trial.files:
                if self._world.files.get(checkpoint.path) != (checkpoint.size, checkpoint.sha256):
                    self._world.violations.append(f"{checkpoint.path} is not what was written")

    def _damage(self) -> None:
        """Lose, shorten or change a checkpoint."""
        world = self._world
        if world.files and world.chance("damage"):
            path = world.rng.choice(sorted(world.files))
            kind = world.rng.choice(("lost", "short", "changed"))
            world.counters[f"checkpoint {kind}"] += 1
            size, _ = world.files.pop(path)
            if kind != "lost":
                world.files[path] = (size - (kind == "short"), "damaged")
