"""The real journal in simulated worlds: processes that launch, append, are killed, suspended and taken over.

python -m tests.chaos.journals --seeds 20000         prints what was injected and found; exit 1 with a violation
python -m tests.chaos.journals --minutes 10          as many as fit
python -m tests.chaos.journals --first 17 --seeds 1 --verbose      replays one

Each seed has a place (a local disk, two containers on one disk, NFS or an object store), two or three processes at a
time, and its own mix of faults. `orchestrator.journal` runs as it is: lease, stores, writer, reader. What is checked:

1. An acknowledged record is found by every read that starts after it, and at the end.
2. Every read finds consecutive records of leases that never fall, each lease of one process.
3. No lease number comes back, unless the process that had it has discarded it.
4. The lease of a process that neither stalled nor met an error is not taken.
5. What a writer was told of is what the journal has of it, if it closed in order.
6. When all is calm again, a new process opens the journal and appends.
7. Damage at rest is refused by name, and changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.errors import JournalError, RunHeldError, SweepError
from orchestrator.journal import Event, Follower, Journal, ObjectStore, read, store_at
from orchestrator.journal.stores import Place
from tests.chaos.simulated.file_systems import Disk, Nfs, Node
from tests.chaos.simulated.installed import ROOT, URL, System
from tests.chaos.simulated.object_stores import SimulatedStore
from tests.chaos.simulated.scheduler import CALM, Killed, Machine, Process, Rates, World
from tests.chaos.spread import Tally, parts_of, tallied

PLACES = ("local", "containers", "nfs", "objects")
TOGETHER = 200  # seeds in one task of a process
_FILE = Path(ROOT, "run", "journal.jsonl")
_UNHURT_SECONDS = 30.0  # after a stall a process has sent its heartbeats again
_PATIENCE = 60  # seconds after which a writer must have met storage that works

Record = tuple[int, int, str]


@dataclass(eq=False)
class Writer:
    """A process that writes, and what it knows.

    Attributes:
        journal: once it is open.
        accepted: the records that it was told of.
        discarded: whether it has given up its number before it wrote.
        released: whether it has begun to release its lease.
    """

    name: str
    process: Process
    journal: Journal | None = None
    accepted: list[Record] = field(default_factory=list)
    discarded: bool = False
    released: bool = False


@dataclass
class Case:
    """One seed: a world, its place, and what is known of the journal.

    Attributes:
        acknowledged: what must be there.
        violations: a sentence for each promise that was broken.
        log: what happened, for ``--verbose``.
    """

    seed: int
    place: str
    world: World
    system: System
    disk: Disk | None
    store: SimulatedStore
    writers: list[Writer] = field(default_factory=list)
    acknowledged: set[Record] = field(default_factory=set)
    grants: dict[int, Writer] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int, system: System) -> Case:
        rng = Random(seed)
        place = PLACES[seed % len(PLACES)]
        machines = 1 if place == "local" else 2
        world = World(rng, Rates.mixed(rng), machines, one_box=place == "containers")
        disk = None if place == "objects" else Nfs(world) if place == "nfs" else Disk(world)
        case = cls(seed, place, world, system, disk, SimulatedStore(world))
        system.enter(world, disk, case.store)
        world.note = case._note
        if isinstance(disk, Disk) and not isinstance(disk, Nfs):
            world.on_power = case._lose_power
        case._note(f"{place}: {world.rates}")
        return case

    @property
    def where(self) -> Place:
        return URL if self.place == "objects" else _FILE

    def run(self) -> None:
        """Run all processes to their end, then check what is left."""
        world = self.world
        for slot in range(world.rng.choice((2, 2, 3))):
            world.at(world.rng.random() * 30.0 * slot, self._slot(slot, world.rng.randint(1, 4)))
        if world.rng.random() < 0.3:
            world.at(world.rng.random() * 20.0, self._start_follower)
        if self.disk and world.rng.random() < 0.2:
            for _ in range(world.rng.randint(1, 3)):
                world.at(world.rng.random() * 90.0, self._replace_by_copy)
        try:
            world.run()
            self._check_end()
        except RuntimeError as error:
            self.violations.append(str(error))

    # Processes

    def _slot(self, slot: int, lives: int) -> Callable[[], None]:
        """Return a step that starts one process after another."""

        def start() -> None:
            nonlocal lives
            lives -= 1
            life = self.world.rng.choices((self._write, self._look, self._refuse), (8, 1, 1))[0]
            process = self._start(life)
            if lives:
                self.world.at(self.world.now + 1.0, after(process))

        def after(process: Process) -> Callable[[], None]:
            def check() -> None:
                if process.pid in process.machine.running:
                    self.world.at(self.world.now + 2.0, check)
                else:
                    self._cut_power_at_rest(process.machine)
                    self.world.at(self.world.now + self.world.rng.choice((0.1, 5.0, 40.0)), start)

            return check

        return start

    def _cut_power_at_rest(self, machine: Machine) -> None:
        """Cut the power when a process has just ended, in some of the worlds in which power is lost."""
        if self.world.rates.power and self.world.rng.random() < 0.1:
            self._note("power")
            self.world.counters["power"] += 1
            self.world.lose_power(machine)

    def _start(self, life: Callable[[], None]) -> Process:
        return self.world.start(self.world.rng.choice(self.world.machines), life)

    def _start_follower(self) -> None:
        self._start(self._follow)

    def _note(self, text: str) -> None:
        process = self.world.process
        self.log.append(f"{self.world.now:8.3f} host{process.machine.number} {process.pid}: {text}")

    def _write(self) -> None:
        """Launch or resume, append records, and end in some way."""
        writer = Writer(str(len(self.writers)), self.world.process)
        self.writers.append(writer)
        with self._told():
            journal = self._open_patiently(writer)
            try:
                self._append_some(writer, journal)
            except KeyboardInterrupt:
                self._note("interrupted")
                self._append(writer, journal, "interrupted")
            finally:
                self._close(writer, journal)

    def _refuse(self) -> None:
        """Take the lease for a launch or resume that is then refused."""
        writer = Writer(str(len(self.writers)), self.world.process)
        self.writers.append(writer)
        with self._told():
            journal = self._open(writer)
            writer.released = writer.discarded = True
            journal.discard()
            self._note("discarded")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Expect that a process ends with an error that names what it met."""
        try:
            yield
        except (RunHeldError, OSError, KeyboardInterrupt) as error:
            self._note(repr(error))
        except SweepError as error:
            self._note(repr(error))
            self.violations.append(f"{self.world.process.pid} at {self.world.now:.1f} s: {error!r}")

    def _open_patiently(self, writer: Writer) -> Journal:
        """Open the journal; perhaps again and again while another process holds it."""
        for _ in range(self.world.rng.choice((0, 60))):
            try:
                return self._open(writer)
            except RunHeldError:
                self.world.sleep(self.world.rng.random())
        return self._open(writer)

    def _open(self, writer: Writer) -> Journal:
        rng = self.world.rng
        is_there = self._is_there()
        launches = not is_there if rng.random() < 0.9 else is_there
        self._note("launches" if launches else "resumes")
        journal = (Journal.create if launches else Journal.open)(self.where)
        writer.journal = journal
        self._grant(writer, journal)
        journal.alert = lambda text: self._note(text)
        journal.accept = lambda event: writer.accepted.append(_record(event))
        tries = _PATIENCE

        def wait(error: OSError) -> bool:
            nonlocal tries
            tries -= 1
            self._note(f"waits: {error!r}")
            self.world.sleep(1.0)
            if not tries:
                self.violations.append(f"{writer.process.pid} still waits: {error!r}")
            return tries > 0

        journal.patience = wait
        return journal

    def _is_there(self) -> bool:
        if self.place == "objects":
            return bool(self.store.objects)
        with contextlib.suppress(OSError):
            return bool(self.disk and self.disk.find("run/journal.jsonl").content)
        return False

    def _grant(self, writer: Writer, journal: Journal) -> None:
        number = journal.lease
        self._note(f"holds lease {number}, {journal.length} records")
        before = self.grants.get(number)
        if before is not None and not before.discarded:
            self.violations.append(f"lease {number} was given to {before.process.pid} and {writer.process.pid}")
        self._check_taken(writer, number)
        self.grants[number] = writer

    def _check_taken(self, taker: Writer, number: int) -> None:
        """Check that the holder before has ended, or has stalled; not if the taker itself stalled on its way."""
        holder = self.grants.get(max((other for other in self.grants if other < number), default=0))
        if holder is None or holder.released or self._hurt(taker) or self._hurt(holder):
            return
        if holder.process.pid in holder.process.machine.running:
            self.violations.append(f"lease {number} was taken from {holder.process.pid}, which sends heartbeats")

    def _hurt(self, writer: Writer) -> bool:
        process = writer.process
        return process.dead or self.world.now - max(process.stalled, process.until) < _UNHURT_SECONDS

    def _lose_power(self, machine: Machine) -> None:
        """All that wrote to this disk are dead, so a claim that is lost, too, may come again."""
        assert self.disk
        self.disk.lose_power(machine)
        for writer in self.grants.values():
            writer.discarded = True

    def _append_some(self, writer: Writer, journal: Journal) -> None:
        rng = self.world.rng
        for _ in range(rng.choice((0, 1, 2, 5, 12, 30))):
            self._append(writer, journal, "record", sync=rng.random() < 0.7)
            if rng.random() < 0.6:
                self.world.sleep(rng.choice((0.1, 1.0, 10.0)) * rng.random())

    def _append(self, writer: Writer, journal: Journal, what: str, *, sync: bool = True) -> None:
        text = f"{what} {writer.name}.{len(writer.accepted)}"
        event = journal.append("sweep.paused", sync=sync, reason=text)
        if event.seq != journal.length - 1 or _record(event) != writer.accepted[-1]:
            self.violations.append(f"{event} was returned, {writer.accepted[-1]} was told")
        if sync:
            self.acknowledged.update(writer.accepted)
            self._note(f"wrote {_record(event)}")

    def _close(self, writer: Writer, journal: Journal) -> None:
        """Close the journal, or end as a process that forgets to."""
        if self.world.rng.random() < 0.2:
            return
        writer.released = True
        journal.close()
        self._note("closed")
        self.world.run_apart(lambda: self._note_closed(writer, journal.lease))

    def _note_closed(self, writer: Writer, lease: int) -> None:
        """A writer that closed and was not taken over has made all durable that it was told of."""
        if self._last_claim() == lease:
            self.acknowledged.update(writer.accepted)
            self._check_told(writer, lease)

    def _last_claim(self) -> int:
        store, disk = self.store, self.disk
        names = disk.find("run/lease").names if disk else [name[6:] for name in store.objects if name[:6] == "lease/"]
        return max(int(name) for name in names if name.isdecimal())

    def _look(self) -> None:
        """Read as `sweep status` does."""
        must = set(self.acknowledged)
        with self._told():
            self._check_read([_record(event) for event in read(self.where)], must)

    def _follow(self) -> None:
        """Read as `sweep watch` does."""
        follower, found = Follower(store_at(self.where)), list[Record]()
        for _ in range(12):
            self.world.sleep(5.0 * self.world.rng.random())
            must = set(self.acknowledged)
            try:
                with self._told():
                    for event in follower.events():
                        if event.seq == 0:
                            found.clear()
                        found.append(_record(event))
                    self._check_read(found, must)
            except Killed:
                raise

    def _replace_by_copy(self) -> None:
        """Put a durable copy in the journal's place, as rsync on another host or a backup that is restored does."""
        assert self.disk
        with contextlib.suppress(OSError):
            self.disk.replace_by_copy("run/journal.jsonl")
            self._note("replaced by a copy")
            self.world.counters["replaced by a copy"] += 1

    # Checks

    def _check_read(self, found: list[Record], must: set[Record]) -> None:
        if [seq for seq, _, _ in found] != list(range(len(found))):
            self.violations.append(f"a reader at {self.world.now:.1f} s found {found}")
        self._check_there(found, must, f"by a reader at {self.world.now:.1f} s")

    def _check_there(self, found: list[Record], must: set[Record], by: str) -> None:
        lost = must - set(found)
        if lost:
            self.violations.append(f"acknowledged and not found {by}: {sorted(lost)[:3]}")

    def _check_told(self, writer: Writer, lease: int) -> None:
        """Check that a writer that has closed was told of what the journal has, and of nothing else."""
        found = [record for record in self._events() if record[1] == lease]
        if found != writer.accepted:
            self.violations.append(f"lease {lease}: the journal has {found}, the writer {writer.accepted}")

    def _events(self) -> list[Record]:
        return [_record(event) for event in read(self.where)]

    def _check_end(self) -> None:
        """Check what is left once all processes have ended, and that the next one can go on."""
        self.world.set_rates(CALM)
        try:
            if self._is_there() or self.acknowledged:
                found = self._events()
                self._check_there(found, self.acknowledged, "at the end")
                self._check_leases(found)
            self.world.start(self.world.rng.choice(self.world.machines), self._go_on)
            self.world.run()
            if not self.violations:
                self._check_damage()
        except (SweepError, OSError) as error:
            self.violations.append(f"at the end: {error!r}")

    def _check_leases(self, found: list[Record]) -> None:
        writers: dict[int, set[str]] = {}
        for _, lease, reason in found:
            writers.setdefault(lease, set()).add(reason.split()[-1].split(".")[0])
        for lease, names in writers.items():
            if len(names) > 1:
                self.violations.append(f"writers {names} wrote under lease {lease}")

    def _go_on(self) -> None:
        writer = Writer("last", self.world.process)
        try:
            journal = (Journal.open if self._is_there() else Journal.create)(self.where)
            before = journal.length
            event = journal.append("sweep.paused", reason="the last last.0")
            journal.close()
            writer.accepted.append(_record(event))
            found = self._events()
            self._check_there(found, {*self.acknowledged, *writer.accepted}, "after the last writer")
            if len(found) != before + 1:
                self.violations.append(f"the last writer found {before} records and left {len(found)}")
        except (SweepError, OSError) as error:
            self.violations.append(f"the last writer: {error!r}")

    # Damage at rest

    def _check_damage(self) -> None:
        """Damage the journal, and check that it is refused and stays as it is."""
        damage = self._damage_objects() if self.place == "objects" else self._damage_file()
        if not damage:
            return
        before = self._content()
        answers = list[str]()

        def opened() -> None:
            try:
                Journal.open(self.where)
            except JournalError as error:
                answers.append(str(error))

        self.world.start(self.world.machines[0], opened)
        self.world.run()
        if not answers or "damage" not in answers[0]:
            self.violations.append(f"{damage} was not refused")
        if self._content() != before:
            self.violations.append(f"{damage} was changed by the open that refused it")

    def _content(self) -> Any:
        if self.place == "objects":
            return {name: entry for name, entry in self.store.objects.items() if not name.startswith("lease")}
        return bytes(self._node().content)

    def _node(self) -> Node:
        assert self.disk
        return self.disk.find("run/journal.jsonl")

    def _damage_file(self) -> str:
        node, rng = self._node(), self.world.rng
        place = rng.randrange(len(node.content) - 1)
        if rng.random() < 0.5:
            node.content[place] ^= 1 << rng.randrange(8)
            return f"a bit flipped at {place}"
        if node.content.count(b"\n") < 2:
            return ""
        lines = bytes(node.content).splitlines(keepends=True)
        del lines[rng.randrange(len(lines) - 1)]
        node.content[:] = b"".join(lines)
        return "a line that is gone"

    def _damage_objects(self) -> str:
        objects, rng = self.store.objects, self.world.rng
        packed = max((name for name in objects if name.startswith("packs")), default="")
        names = sorted(n for n in objects if n.startswith("records"))
        end = int(packed.partition("-")[2].removesuffix(".jsonl")) if packed else 0
        unpacked = [name for name in names if int(name[8:].removesuffix(".jsonl")) >= end]
        if len(unpacked) < 2:
            return ""
        name = unpacked[rng.randrange(len(unpacked) - 1)]
        if rng.random() < 0.5:
            del objects[name]
            return f"{name} that is gone"
        content, when = objects[name]
        place = rng.randrange(len(content) - 1)
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        objects[name] = bytes(changed), when
        return f"a bit flipped in {name}"


def _record(event: Event) -> Record:
    return event.seq, event.lease, event["reason"]


def violations(seed: int, system: System, *, verbose: bool = False) -> tuple[list[str], Counter[str]]:
    """Return what a seed violates, and how often each fault occurred. `System.installed` must be entered."""
    case = Case.of(seed, system)
    case.run()
    if verbose:
        print("\n".join(case.log))
    counters = case.world.counters
    counters.update({case.place: 1, "records": len(case.acknowledged), "writers": len(case.grants)})
    return case.violations, counters


def tally(seeds: range) -> Tally:
    """Return what came of some seeds."""
    found = Tally(Counter(), [])
    packs, ObjectStore.PACK = ObjectStore.PACK, 5
    try:
        with System().installed() as system, _collected_between():
            for seed in seeds:
                broken, counters = violations(seed, system)
                found.counters.update(counters)
                found.found.extend((seed, text) for text in broken)
                if seed % 20 == 0:
                    gc.collect()
    finally:
        ObjectStore.PACK = packs
    return found


@contextlib.contextmanager
def _collected_between() -> Iterator[None]:
    """Collect garbage between seeds only: what runs then must not depend on when."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def many(first: int, seeds: int, processes: int = 1) -> Tally:
    """Return what came of consecutive seeds."""
    return tallied(tally, parts_of(first, seeds, TOGETHER), processes)


def for_minutes(minutes: float, first: int = 0, processes: int = 1) -> tuple[int, Tally]:
    """Run as many seeds as fit; return how many did, and what came of them."""
    seeds, whole, until = 0, Tally(Counter(), []), time.monotonic() + 60.0 * minutes
    while time.monotonic() < until:
        part = many(first + seeds, TOGETHER * processes, processes)
        seeds += TOGETHER * processes
        whole.counters.update(part.counters)
        whole.found.extend(part.found)
    return seeds, whole


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the real journal in simulated worlds.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0, help="as many as fit, instead of --seeds")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--verbose", action="store_true", help="print what happens")
    options = parser.parse_args()
    began = time.monotonic()
    if options.verbose:
        ObjectStore.PACK = 5
        with System().installed() as system:
            for seed in range(options.first, options.first + options.seeds):
                print(*violations(seed, system, verbose=True)[0], sep="\n")
        return
    seeds = options.seeds
    if options.minutes:
        seeds, found = for_minutes(options.minutes, options.first, options.processes)
    else:
        found = many(options.first, seeds, options.processes)
    for name, count in sorted(found.counters.items()):
        print(f"{count:12,} {name}")
    for seed, text in found.found[:20]:
        print(f"seed {seed}: {text}")
    wrong = len({seed for seed, _ in found.found})
    print(f"{seeds:,} worlds, {wrong} with a violation, {time.monotonic() - began:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
