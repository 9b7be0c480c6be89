"""Faults drawn from a seed, and a world, store, lease and host that suffer them."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from orchestrator.engine.virtual_cluster import MemoryLease, MemoryStore, VirtualHost, World
from orchestrator.errors import RunHeldError
from orchestrator.journal.records import parse
from orchestrator.state import SweepState


class Crash(BaseException):
    """The driver dies in the middle of what it does. Not an Exception, so that nothing survives by catching it."""


@dataclass(frozen=True)
class Faults:
    """How often each fault occurs, as a probability; 0 for never.

    Args:
        crash: of each append to the journal (before it, torn, written or synced) and of each deletion of a file.
        power: the share of crashes that lose what was not durable.
        asleep: of each append: the driver sleeps until another has taken over.
        full: of each append: the disk is full for a while.
        lost: of each epoch: the worker's process is lost.
        memory: of each epoch: it runs out of memory.
        user: of each epoch: the module raises an error, and the trial fails.
        interim: of each epoch: a checkpoint is saved within it. If not 0, stops end segments within an epoch.
        node: of each epoch: its node is lost.
        late: of each lost worker: its last report arrives after the loss.
        twice: of each report: it arrives twice.
        slow: of each message: it takes seconds.
        stop: of each event: the sweep is asked to stop.
        end: of each event: a trial is asked to stop.
        promote: of each event: a trial that was set aside is asked to continue.
        damage: of each restart: a checkpoint is lost, cut short or changed.
        retry: of each restart: failed trials are retried.
        deaths: after so many deaths of drivers there are no more faults.
    """

    crash: float = 0.0
    power: float = 0.0
    asleep: float = 0.0
    full: float = 0.0
    lost: float = 0.0
    memory: float = 0.0
    node: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    slow: float = 0.0
    stop: float = 0.0
    end: float = 0.0
    promote: float = 0.0
    damage: float = 0.0
    retry: float = 0.0
    user: float = 0.0
    interim: float = 0.0
    deaths: int = 6

    @classmethod
    def mixed(cls, rng: Random) -> Faults:
        """Draw some of all faults, each frequent enough to occur in a small sweep."""
        often: dict[str, Any] = {
            "crash": 0.04, "power": 0.5, "asleep": 0.01, "full": 0.02, "lost": 0.06, "memory": 0.03, "node": 0.03,
            "late": 0.5, "twice": 0.1, "slow": 0.1, "stop": 0.01, "end": 0.003, "damage": 0.3, "retry": 0.3,
        }  # fmt: skip
        return cls(**{name: rng.random() * rate * 1.5 for name, rate in often.items() if rng.random() < 0.6})


CALM = Faults()


class FaultyWorld(World):
    """A world with faults.

    Attributes:
        durable: the first bytes of the journal that survive a power cut.
        orphans: checkpoints that workers of a dead driver will still write: when, path, content.
        counters: how often each fault occurred.
        violations: a sentence for each promise of the engine that was broken.
        sleep: runs other drivers while one sleeps.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        super().__init__(seed)
        self.faults = faults
        self.durable = 0
        self.orphans: list[tuple[float, str, tuple[int, str]]] = []
        self.counters: Counter[str] = Counter()
        self.violations: list[str] = []
        self.stop_reason = ""
        self.stop_requested_at = 0.0
        self.to_stop: set[int] = set()
        self.to_promote: set[int] = set()
        self.deaths = 0
        self.sleep: Callable[[], None] = lambda: None
        self._full_until = 0.0

    def chance(self, fault: str) -> bool:
        """Return whether that fault occurs now, and count it."""
        rate = getattr(self.faults, fault)
        if rate and self.rng.random() < rate:
            self.counters[fault] += 1
            return True
        return False

    def append_fault(self) -> str:
        """Return what happens at this append: where the driver dies, or ``asleep``; empty for nothing."""
        if self.chance("crash"):
            point = self.rng.choice(("before", "torn", "written", "synced"))
            self.counters[f"crash {point}"] += 1
            return point
        if self.chance("asleep"):
            return "asleep"
        if self.chance("full"):
            self._full_until = self.clock + self.rng.uniform(0.1, 30.0)
        return ""

    @property
    def full(self) -> bool:
        """Whether the disk is full."""
        return self.clock < self._full_until

    def lose_driver(self) -> None:
        """Let the driver die, with a power cut or without."""
        if self.chance("power"):
            del self.journal[self.rng.randint(self.durable, len(self.journal)) :]
        self.durable = len(self.journal)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock; orphaned workers write their checkpoints."""
        self.clock += seconds
        due = [orphan for orphan in self.orphans if orphan[0] <= self.clock]
        self.orphans = [orphan for orphan in self.orphans if orphan[0] > self.clock]
        self.files.update((path, content) for _, path, content in due)

    def recorded_checkpoints(self) -> set[str]:
        """Return the checkpoints that the journal, as it is now, names."""
        state = SweepState(event for event, _ in parse(MemoryStore(self).lines()))
        return {checkpoint.path for trial in state.trials.values() for checkpoint in trial.files}

    def calm(self) -> None:
        """End all faults."""
        self.faults = CALM


class FaultyLease(MemoryLease):
    """A lease that is lost once another driver has a higher epoch."""

    def __init__(self, world: World, *, proven: bool) -> None:
        super().__init__(world)
        self.proven = proven
        self._world = world

    def require(self) -> None:
        """Raise RunHeldError if another driver has taken over."""
        if self._world.epoch != self.epoch:
            raise RunHeldError("another driver has taken over")


class FaultyStore(MemoryStore):
    """Lines in memory, by the rules of `orchestrator.journal.stores.FileStore`, with crashes and a full disk."""

    _world: FaultyWorld

    def __init__(self, world: FaultyWorld) -> None:
        super().__init__(world)
        self._file = world.journal
        self._pending = b""
        self._failed = False

    @property
    def _content(self) -> bytearray:
        return self._file

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Cut off a torn tail; write into a copy if the driver before may still write into the old file."""
        torn = len(self._file) - end
        if not proven:
            self._file = self._world.journal = bytearray(self._file)
        del self._file[end:]
        self._world.durable = end
        return torn

    def append(self, line: bytes, *, sync: bool) -> None:
        """Add a line, unless a fault occurs."""
        world, file = self._world, self._file
        fault = world.append_fault()
        if fault == "before":
            raise Crash
        if fault == "asleep":
            world.sleep()
        if fault == "torn":
            file.extend(line[: world.rng.randrange(1, len(line))])
            raise Crash
        if world.full:
            self._failed = True
            if self._is_current:
                del file[world.durable :]
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._failed:
            file.extend(self._pending)
            self._failed = False
        file.extend(line)
        self._pending += line
        if fault == "written":
            raise Crash
        if sync:
            self._pending = b""
            self._mark_durable()
        if fault == "synced":
            raise Crash

    def close(self) -> None:
        """Make all durable."""
        self._mark_durable()

    @property
    def _is_current(self) -> bool:
        """Whether no other driver has replaced the file."""
        return self._file is self._world.journal

    def _mark_durable(self) -> None:
        if self._is_current:
            self._world.durable = len(self._file)


class FaultyHost(VirtualHost):
    """A machine with requests, crashes and a full disk."""

    _world: FaultyWorld

    def __init__(self, world: FaultyWorld) -> None:
        super().__init__(world)
        self._epoch = world.epoch

    def stop_reason(self) -> str:
        """Return why the sweep is to stop."""
        return self._world.stop_reason

    def trials_to_stop(self) -> Iterable[int]:
        """Return the trials with an open stop request."""
        return self._world.to_stop

    def trial_stopped(self, trial: int) -> None:
        """Close a trial's stop request."""
        self._world.to_stop.discard(trial)

    def trials_to_promote(self) -> Iterable[int]:
        """Return the trials with an open promotion request."""
        return self._world.to_promote

    def trial_promoted(self, trial: int) -> None:
        """Close a trial's promotion request."""
        self._world.to_promote.discard(trial)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, or crash at one of them."""
        world = self._world
        for path in paths:
            if self._epoch != world.epoch and path in world.recorded_checkpoints():
                world.violations.append(f"a driver that was taken over removed {path}, which another needs")
            if world.chance("crash"):
                world.counters["crash removing"] += 1
                raise Crash
            world.files.pop(path, None)

    def storage_fault(self, needed: int) -> str:
        """Return whether the disk is full."""
        return "no space left" if self._world.full else ""

    def wait_for_storage(self, fault: str) -> bool:
        """Pass a second. False if the sweep is to stop."""
        self._world.pass_time(1.0)
        return not self._world.stop_reason

    def storage_recovered(self) -> None:
        """Do nothing: no user reads it."""
