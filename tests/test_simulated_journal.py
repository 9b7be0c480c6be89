"""The real journal in simulated worlds, and what those replace: each part of a world against the part itself."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pytest

from orchestrator.journal import Journal
from orchestrator.object_storage import Objects
from tests.chaos.journals import PLACES, Case, for_minutes, many
from tests.chaos.simulated.file_systems import Disk, Nfs
from tests.chaos.simulated.installed import ROOT, URL, System
from tests.chaos.simulated.object_stores import SimulatedStore
from tests.chaos.simulated.scheduler import CALM, Killed, Rates, World

SAMPLE = 60
FINDERS = (16, 213, 214, 318)  # seeds in which the planted bugs that name the test below show
MINUTES = 10.0  # of the slow test


def test_worlds_break_no_promise() -> None:
    found = many(0, SAMPLE)
    assert not found.found, "\n".join(f"seed {seed}: {what}" for seed, what in found.found[:10])
    came = {*PLACES, "kill", "power", "suspend", "sleep", "slow", "signal", "full", "broken", "lost", "late", "cached"}
    assert not {fault for fault in came if not found.counters[fault]}, "a fault that never came tests nothing"
    assert found.counters["records"] > 5 * SAMPLE


@pytest.mark.parametrize("seed", FINDERS)
def test_a_world_that_found_a_planted_bug_breaks_no_promise(seed: int) -> None:
    found = many(seed, 1)
    assert not found.found, found.found


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 300)
def test_as_many_worlds_as_fit_break_no_promise() -> None:
    seeds, found = for_minutes(MINUTES, first=SAMPLE, processes=2)
    print(f"{seeds:,} worlds in {MINUTES:g} minutes: {sum(found.counters.values()):,} of {dict(found.counters)}")
    assert not found.found, "\n".join(f"seed {seed}: {what}" for seed, what in found.found[:10])
    names = {*PLACES, *(rate.name for rate in fields(Rates)), "replaced by a copy", "written by a dead process"}
    assert not {name for name in names if not found.counters[name]}


@pytest.fixture
def system() -> Iterator[System]:
    with System().installed() as installed:
        yield installed


def test_a_seed_replays_its_world(system: System) -> None:
    for seed in range(12):
        first, again = Case.of(seed, system), Case.of(seed, system)
        system.enter(first.world, first.disk, first.store)
        first.run()
        system.enter(again.world, again.disk, again.store)
        again.run()
        assert first.log == again.log
        assert len(first.log) > 1


def calm(system: System, disk: type[Disk] | None = None, machines: int = 2) -> World:
    """A world without faults."""
    world = World(Random(1), CALM, machines)
    system.enter(world, disk(world) if disk else None, SimulatedStore(world))
    return world


def test_a_journal_of_a_calm_world_has_the_bytes_of_a_real_one(tmp_path: Path) -> None:
    """All but times: the code under test runs the same in greenlets."""

    def write(path: Path) -> None:
        journal = Journal.create(path)
        journal.now = lambda: 7.0
        for number in range(5):
            journal.append("sweep.paused", sync=number % 2 == 0, reason=str(number))
        journal.close()

    write(tmp_path / "run" / "journal.jsonl")
    with System().installed() as system:
        world = calm(system, Nfs)
        process = world.start(world.machines[0], lambda: write(Path(ROOT, "run", "journal.jsonl")))
        world.run()
        assert process.threads[0].error is None
        assert Path(ROOT, "run", "journal.jsonl").read_bytes() == (tmp_path / "run" / "journal.jsonl").read_bytes()
        assert [path.name for path in Path(ROOT, "run", "lease").iterdir()] == ["000001"]


def test_a_killed_process_does_nothing_more(system: System) -> None:
    world = calm(system, Disk)
    path, done = Path(ROOT, "file"), list[str]()

    def life() -> None:
        try:
            path.write_bytes(b"before")
            world.end(world.process)
            path.write_bytes(b"after")
        finally:
            with pytest.raises(Killed):
                path.unlink()
            done.append("ended")

    world.start(world.machines[0], life)
    world.run()
    assert path.read_bytes() == b"before"
    assert done == ["ended"]


NAMES = ("a", "b", "d/a", "d/b", "e/a", "a/x")
FOLDERS = ("d", "e", "d/f")


def operation(rng: Random) -> tuple[str, Callable[[Path, dict[int, int]], Any]]:
    """Draw an operation on files and folders; the dictionary holds open descriptors by a number."""
    one, two, folder, slot = rng.choice(NAMES), rng.choice(NAMES), rng.choice(FOLDERS), rng.randrange(3)
    data = bytes(rng.randrange(256) for _ in range(rng.randrange(9)))
    appending = os.O_WRONLY | os.O_APPEND
    flags = rng.choice((os.O_RDONLY, appending, appending | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))

    def opened(root: Path, files: dict[int, int]) -> None:
        files[slot] = os.open(root / one, flags, 0o600)

    def status(descriptor_or_path: Any) -> tuple[int, int]:
        if isinstance(descriptor_or_path, int):  # without its links: NFS keeps a name for an open file
            return os.fstat(descriptor_or_path).st_size, 0
        found = os.stat(descriptor_or_path)  # noqa: PTH116
        return (0, 0) if found.st_mode & 0o40000 else (found.st_size, found.st_nlink)

    return rng.choice(
        [
            (f"open {one} {flags}", opened),
            (f"open {one} {flags}", opened),
            (f"write {data!r}", lambda root, files: os.write(files[slot], data)),
            (f"sync {slot}", lambda root, files: os.fsync(files[slot])),
            (f"truncate {slot}", lambda root, files: os.ftruncate(files[slot], len(data))),
            (f"fstat {slot}", lambda root, files: status(files[slot])),
            (f"close {slot}", lambda root, files: os.close(files.pop(slot))),
            (f"read {one}", lambda root, files: (root / one).read_bytes()),
            (f"lines {one}", lambda root, files: lines(root / one, len(data))),
            (f"write to {one}", lambda root, files: (root / one).write_bytes(data)),
            (f"stat {one}", lambda root, files: status(root / one)),
            (f"exists {one}", lambda root, files: ((root / one).exists(), (root / one).is_file())),
            (f"list {folder}", lambda root, files: sorted(item.name for item in (root / folder).iterdir())),
            (f"glob {folder}", lambda root, files: sorted(item.name for item in (root / folder).glob("*a*"))),
            (f"mkdir {folder}", lambda root, files: (root / folder).mkdir()),
            (f"mkdir {folder}", lambda root, files: (root / folder).mkdir(parents=True, exist_ok=True)),
            (f"rmdir {folder}", lambda root, files: (root / folder).rmdir()),
            (f"unlink {one}", lambda root, files: (root / one).unlink()),
            (f"unlink {folder}", lambda root, files: (root / folder).unlink(missing_ok=True)),
            (f"rename {one} {two}", lambda root, files: os.replace(root / one, root / two)),  # noqa: PTH105
            (f"rename {one} {folder}", lambda root, files: os.replace(root / one, root / folder)),  # noqa: PTH105
            (f"link {one} {two}", lambda root, files: os.link(root / one, root / two)),
            (f"same {one} {two}", lambda root, files: os.path.samefile(root / one, root / two)),  # noqa: PTH121
        ]
    )


def lines(path: Path, place: int) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(place)
        return [file.readline(), *file.readlines()]


def outcome(call: Callable[[Path, dict[int, int]], Any], root: Path, files: dict[int, int]) -> Any:
    try:
        return call(root, files)
    except OSError as error:
        return "error", error.errno
    except KeyError:
        return "no such descriptor"


@pytest.mark.parametrize("disk", [Disk, Nfs])
def test_a_simulated_file_system_answers_as_a_real_one(disk: type[Disk], tmp_path: Path, system: System) -> None:
    """A client of NFS that is alone sees what it would see on a local disk."""
    errors = set()
    for seed in range(150):
        calm(system, disk)
        rng, root = Random(seed), tmp_path / str(seed)
        root.mkdir()
        real, simulated, done = dict[int, int](), dict[int, int](), list[str]()
        for _ in range(60):
            name, call = operation(rng)
            expected = outcome(call, root, real)
            done.append(f"{name}: {expected}")
            assert outcome(call, Path(ROOT), simulated) == expected, f"{seed}: {done[-12:]}"
            if isinstance(expected, tuple) and expected[0] == "error":
                errors.add(expected[1])
        for descriptor in real.values():
            os.close(descriptor)
    assert len(errors) >= 5, "few errors were met"


def test_a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest(system: System) -> None:
    contents, names = set(), set()
    for seed in range(200):
        world = World(Random(seed), CALM, 1)
        disk = Disk(world)
        system.enter(world, disk)
        (Path(ROOT) / "old").write_bytes(b"synced")
        descriptor = os.open(Path(ROOT, "old"), os.O_WRONLY | os.O_APPEND)
        folder = os.open(ROOT, os.O_RDONLY)
        os.fsync(descriptor)
        os.fsync(folder)
        os.write(descriptor, b" not")
        Path(ROOT, "new").write_bytes(b"")
        disk.lose_power(world.machines[0])
        contents.add(Path(ROOT, "old").read_bytes())
        names.add("new" in os.listdir(ROOT))  # noqa: PTH208
    assert contents == {b"synced", b"synced ", b"synced n", b"synced no", b"synced not"}
    assert names == {True, False}


def test_a_failed_sync_forgets_what_it_should_have_written(system: System) -> None:
    world = calm(system, Disk)
    assert system.disk is not None
    file = system.disk.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    system.disk.write(file, b"lost ")
    file.node.forget()
    system.disk.write(file, b"kept")
    system.disk.sync(file)
    assert bytes(file.node.content) == b"lost kept"
    assert not bytes(file.node.disk).startswith(b"lost"), "as the kernel does, a later sync leaves it out"
    assert world.calm


def test_clients_of_nfs_see_what_they_know_until_they_open(system: System) -> None:
    world = World(Random(3), Rates(cached=1.0), 2)
    system.enter(world, Nfs(world))
    path, told = Path(ROOT, "file"), list[Any]()

    def first() -> None:
        told.append(path.exists())
        world.sleep(5.0)
        told.append(path.exists())  # it knows of no such file, and asks nobody
        told.append(path.read_bytes())
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        world.sleep(5.0)
        with pytest.raises(OSError, match="Stale"):
            os.write(descriptor, b"more")

    def second() -> None:
        world.sleep(2.0)
        path.write_bytes(b"here")
        world.sleep(5.0)
        path.unlink()

    processes = [world.start(machine, life) for machine, life in zip(world.machines, (first, second), strict=True)]
    world.run()
    assert [process.threads[0].error for process in processes] == [None, None]
    assert told == [False, False, b"here"]


def test_a_simulated_object_store_answers_as_a_real_one(s3: str, system: System) -> None:
    calm(system)
    real, simulated = Objects(f"{s3}/{uuid.uuid4()}"), Objects(URL)
    rng, met = Random(5), set()
    for _ in range(120):
        name, other = rng.choice(("records/1", "records/2", "lease/1")), rng.choice(("records", "lease", "", "none"))
        data = bytes(rng.randrange(256) for _ in range(rng.randrange(5)))
        calls: list[Callable[[Objects], Any]] = [
            lambda kept: kept.create(name, data),  # noqa: B023
            lambda kept: kept.put(name, data),  # noqa: B023
            lambda kept: kept.get(name),  # noqa: B023
            lambda kept: kept.size(name),  # noqa: B023
            lambda kept: kept.names(other),  # noqa: B023
            lambda kept: kept.names("records", after="records/1"),
            lambda kept: list(kept.get_all(kept.names())),
            lambda kept: kept.remove([name]),  # noqa: B023
        ]
        call, answers = rng.choice(calls), list[Any]()
        for kept in (real, simulated):
            try:
                answers.append(call(kept))
            except OSError as error:
                answers.append((type(error), error.errno))
        assert answers[0] == answers[1]
        met.add(str(answers[0]))
    assert {FileExistsError.__name__, FileNotFoundError.__name__} <= {
        name for name in ("FileExistsError", "FileNotFoundError") if any(name in answer for answer in met)
    }
