"""A machine that is not there: clock, disk, lease and requests for stop, in memory, with faults drawn from a seed.

What outlives a driver is in `World`; `VirtualHost`, `MemoryStore` and `MemoryRight` are one driver's view of it.
"""

from __future__ import annotations

import errno
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.engine.driver_host import DriverHost
from orchestrator.errors import RunHeldError
from orchestrator.journal.records import Line, parse
from orchestrator.journal.stores import Store
from orchestrator.state import Checkpoint, SweepState

_START = 1_700_000_000.0  # Unix seconds
_HALVINGS = 3


class Crash(BaseException):
    """The driver is gone, in the middle of whatever it did. Not an Exception: nothing may outlive it by catching it."""


@dataclass(frozen=True)
class Faults:
    """How often each fault comes, as a probability; all zero: never.

    Of each append to the journal: ``crash`` (before, torn, written, synced), ``asleep`` (long enough for another driver
    to take over), ``full`` (the disk, for a while). Of each removal of files: ``crash``. Of each epoch: ``lost``,
    ``memory``, ``node``. Of each report: ``late`` (after its segment is gone), ``twice``, ``slow``. Of each event:
    ``stop`` (the sweep), ``end`` (one trial), ``promote`` (one that waits). At each restart: ``damage`` of a
    checkpoint, ``retry`` of failed trials. ``power`` is the share of crashes that take with them what was not durable.
    After ``deaths`` of drivers all is calm.
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
    deaths: int = 6

    @classmethod
    def mixed(cls, rng: Random) -> Faults:
        """Some of all, each often enough to come in a small sweep."""
        often: dict[str, Any] = {
            "crash": 0.04, "power": 0.5, "asleep": 0.01, "full": 0.02, "lost": 0.06, "memory": 0.03, "node": 0.03,
            "late": 0.5, "twice": 0.1, "slow": 0.1, "stop": 0.01, "end": 0.003, "damage": 0.3, "retry": 0.3,
        }  # fmt: skip
        return cls(**{name: rng.random() * rate * 1.5 for name, rate in often.items() if rng.random() < 0.6})


CALM = Faults()


@dataclass
class Journaled:
    """The journal's file: ``content`` as a reader sees it, of which the first ``durable`` bytes outlive a power cut."""

    content: bytearray = field(default_factory=bytearray)
    durable: int = 0


class World:
    """Everything that outlives a driver."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.rng = Random(seed)
        self.faults = faults
        self.clock = _START
        self.journal = Journaled()
        self.epoch = 0
        self.files: dict[str, tuple[int, str]] = {}
        self.orphans: list[tuple[float, str, tuple[int, str]]] = []
        self.counters: Counter[str] = Counter()
        self.violations: list[str] = []
        self.full_until = 0.0
        self.asked = ""
        self.asked_at = 0.0
        self.to_stop: set[int] = set()
        self.to_promote: set[int] = set()
        self.deaths = 0
        self.sleep: Callable[[], None] = lambda: None

    def chance(self, fault: str) -> bool:
        """Whether that fault comes now; counted where it does."""
        rate = getattr(self.faults, fault)
        if rate and self.rng.random() < rate:
            self.counters[fault] += 1
            return True
        return False

    def peril(self) -> str:
        """What happens to the driver at this append: where in it it dies, or that it sleeps; empty for nothing."""
        if self.chance("crash"):
            point = self.rng.choice(("before", "torn", "written", "synced"))
            self.counters[f"crash {point}"] += 1
            return point
        if self.chance("asleep"):
            return "asleep"
        if self.chance("full"):
            self.full_until = self.clock + self.rng.uniform(0.1, 30.0)
        return ""

    @property
    def full(self) -> bool:
        return self.clock < self.full_until

    def died(self) -> None:
        """A driver is gone: what was not durable may go with it, what it ran goes on for a moment."""
        if self.chance("power"):
            file = self.journal
            del file.content[self.rng.randint(file.durable, len(file.content)) :]
        self.journal.durable = len(self.journal.content)

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        due = [orphan for orphan in self.orphans if orphan[0] <= self.clock]
        self.orphans = [orphan for orphan in self.orphans if orphan[0] > self.clock]
        self.files.update((path, content) for _, path, content in due)

    def held(self) -> set[str]:
        """The checkpoints that the journal, as it is now, holds to be there."""
        state = SweepState(event for event, _ in parse(MemoryStore(self).lines()))
        return {held.path for trial in state.trials.values() for held in trial.checkpoints.values()}

    def calm(self) -> None:
        """No more faults."""
        self.faults = CALM


class MemoryRight:
    """The right to write, lost once another has a higher epoch. ``proven``: whether the one before is dead."""

    def __init__(self, world: World, *, proven: bool) -> None:
        world.epoch += 1
        self.epoch, self.proven = world.epoch, proven
        self._world = world

    def require(self) -> None:
        """Raises RunHeldError where another driver has taken over."""
        if self._world.epoch != self.epoch:
            raise RunHeldError("another driver has taken over")

    def release(self) -> None:
        """There is nobody to tell."""

    def discard(self) -> None:
        """There is nothing to leave."""


class MemoryStore(Store):
    """Lines in memory, by the same rules as a file's: see `FileStore`, which this is the model of."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._file = world.journal
        self._pending = b""
        self._failed = False

    def lines(self) -> Iterator[Line]:
        end = 0
        for content in io.BytesIO(bytes(self._file.content)):
            place = f"the journal is damaged at byte {end}"
            end += len(content)
            yield Line(content, place, end)

    def empty(self) -> bool:
        return not self._file.content

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        torn = len(self._file.content) - end
        if not proven:  # the one before may still write into the old file
            self._file = self._world.journal = Journaled(bytearray(self._file.content))
        del self._file.content[end:]
        self._file.durable = end
        return torn

    def append(self, line: bytes, *, sync: bool) -> None:
        peril = self._world.peril()
        if peril == "before":
            raise Crash
        if peril == "asleep":
            self._world.sleep()
        file = self._file
        if peril == "torn":
            file.content += line[: self._world.rng.randrange(1, len(line))]
            raise Crash
        if self._world.full:
            self._failed = True
            del file.content[file.durable :]
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._failed:
            file.content += self._pending
            self._failed = False
        file.content += line
        self._pending += line
        if peril == "written":
            raise Crash
        if sync:
            file.durable, self._pending = len(file.content), b""
        if peril == "synced":
            raise Crash

    def close(self) -> None:
        self._file.durable = len(self._file.content)

    def discard(self) -> None:
        """There is nothing to leave."""


class VirtualHost(DriverHost):
    """The machine that one driver runs on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._epoch = world.epoch
        self.name, self.pid = "simulated", world.epoch

    def hardware(self) -> dict[str, Any]:
        return {}

    def now(self) -> float:
        return self._world.clock

    def stop_reason(self) -> str:
        return self._world.asked

    def trials_to_stop(self) -> Iterable[int]:
        return self._world.to_stop

    def trial_stopped(self, trial: int) -> None:
        self._world.to_stop.discard(trial)

    def trials_to_promote(self) -> Iterable[int]:
        return self._world.to_promote

    def trial_promoted(self, trial: int) -> None:
        self._world.to_promote.discard(trial)

    def is_intact(self, checkpoint: Checkpoint) -> bool:
        return self._world.files.get(checkpoint.path, (-1, ""))[0] == checkpoint.size

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self._epoch != self._world.epoch and path in self._world.held():
                self._world.violations.append(f"a driver that was taken over removed {path}, which another needs")
            if self._world.chance("crash"):
                self._world.counters["crash removing"] += 1
                raise Crash
            self._world.files.pop(path, None)

    def delete_unrecorded(self, recorded: Iterable[str]) -> None:
        names = set(recorded)
        self.delete([path for path in self._world.files if path not in names])

    def storage_fault(self, needed: int) -> str:
        return "no space left" if self._world.full else ""

    def wait_for_storage(self, fault: str) -> bool:
        self._world.pass_time(1.0)
        return not self._world.asked

    def storage_recovered(self) -> None:
        """Nobody is told."""

    def smaller_batches(
        self, model: Mapping[str, Any], data: Mapping[str, Any] | None, trainer: Mapping[str, Any], halvings: int
    ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        return None if halvings > _HALVINGS else (dict(model), dict(data) if data else None, dict(trainer))

    def trial_folder(self, trial: int) -> Path:
        return Path(f"/simulated/trials/{trial:04d}")
