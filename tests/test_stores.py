"""Every place a journal can be kept is held to the same: a file, and objects in S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import FileStore, Journal, ObjectStore, Store, lease, read, store_at
from orchestrator.journal.records import parse
from orchestrator.object_storage import Objects, objects


@dataclass
class Place:
    """Somewhere to keep a journal."""

    store: Callable[[], Store]
    create: Callable[[], Journal]
    open: Callable[[], Journal]
    whole_lines: bool  # whether a write is there as a whole or not at all


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        path = tmp_path / "run" / "journal.jsonl"
        return Place(lambda: FileStore(path), lambda: Journal.create(path), lambda: Journal.open(path), False)
    at = f"{request.getfixturevalue('s3')}/{uuid.uuid4()}/journal"
    return Place(lambda: store_at(at), lambda: Journal.create(at), lambda: Journal.open(at), True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder is silent after 0.5 s, and one that lives beats every 0.1 s."""
    monkeypatch.setattr(lease, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "_FRESH_SECONDS", 0.3)


def reasons(store: Store) -> list[str]:
    return [event["reason"] for event, _ in parse(store.lines())]


def test_what_was_appended_is_read(place: Place) -> None:
    assert place.store().empty()
    journal = place.create()
    journal.append("sweep.paused", reason="a")
    journal.append("sweep.paused", sync=False, reason="b")
    journal.append("sweep.paused", reason="c")
    assert reasons(place.store()) == ["a", "b", "c"]
    journal.append("sweep.paused", sync=False, reason="d")
    journal.close()
    assert reasons(place.store()) == ["a", "b", "c", "d"], "closing makes all durable"
    assert not place.store().empty()


def test_a_journal_is_taken_over_where_its_writer_let_go(place: Place) -> None:
    place.create().close()
    for number in range(3):
        journal = place.open()
        journal.append("sweep.paused", reason=str(number))
        assert journal.lease == number + 2
        journal.close()
    assert reasons(place.store()) == ["0", "1", "2"]
    with pytest.raises(RunHeldError, match="exists already"):
        place.create()


@pytest.mark.usefixtures("impatient")
def test_a_living_writer_keeps_it(place: Place) -> None:
    journal = place.create()
    journal.append("sweep.paused", reason="mine")
    with pytest.raises(RunHeldError, match=f"process {os.getpid()}"):
        place.open()
    journal.append("sweep.paused", reason="still mine")
    journal.close()
    assert reasons(place.store()) == ["mine", "still mine"]


@pytest.mark.usefixtures("impatient")
def test_a_writer_that_was_silent_finds_it_taken_and_writes_nothing(place: Place) -> None:
    asleep = place.create()
    asleep.append("sweep.paused", reason="first")
    asleep.append("sweep.paused", sync=False, reason="not durable")
    stop_beating(asleep)
    time.sleep(0.4)
    taken = place.open()
    taken.append("sweep.paused", reason="second")
    before = [line.content for line in place.store().lines()]
    with pytest.raises(RunHeldError):
        asleep.append("sweep.paused", reason="woken")
    with suppress(RunHeldError):
        asleep._store.close()  # as its process would at its end
    assert [line.content for line in place.store().lines()] == before
    taken.append("sweep.paused", reason="third")
    taken.close()
    assert reasons(place.store())[-2:] == ["second", "third"]


def stop_beating(journal: Journal) -> None:
    right: Any = journal._right
    right._done.set()
    right._thread.join()


def test_of_two_writers_one_writes_the_record(place: Place) -> None:
    """Even where the lease let both through: on an object store the record's number is the fence."""
    if not place.whole_lines:
        pytest.skip("a file is fenced by its lease and by being another file")
    place.create().close()
    first, second = place.store(), place.store()
    for store in (first, second):
        store.start(0, 0, proven=True)
    lines = [b'{"writer":1}\n', b'{"writer":2}\n']
    barrier, refused = threading.Barrier(2), []

    def write(store: Store, line: bytes) -> None:
        barrier.wait()
        try:
            store.append(line, sync=True)
        except RunHeldError as error:
            refused.append(error)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (first, second), lines))
    assert len(refused) == 1
    assert [line.content for line in place.store().lines()] in ([lines[0]], [lines[1]])


def test_of_twenty_creators_one_wins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    barrier, won, lost = threading.Barrier(20), [], []

    def make(number: int) -> None:
        barrier.wait()
        try:
            journal = place.create()
            journal.append("sweep.paused", reason=str(number))
            won.append((number, journal))
        except RunHeldError as error:
            lost.append(error)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(make, range(20)))
    assert (len(won), len(lost)) == (1, 19)
    assert reasons(place.store()) == [str(won[0][0])]
    won[0][1].close()


def test_a_write_whose_answer_was_lost_is_our_own(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Objects(f"{s3}/{uuid.uuid4()}")
    store, real, told = ObjectStore(kept), kept.create, list[str]()

    def answer_lost(name: str, content: bytes) -> None:
        real(name, content)
        if not told:
            told.append(name)
            raise TimeoutError("no answer")

    store.start(0, 0, proven=True)
    monkeypatch.setattr(kept, "create", answer_lost)
    with pytest.raises(TimeoutError):
        store.append(b"a\n", sync=True)
    store.append(b"a\n", sync=True)
    store.append(b"b\n", sync=True)
    assert [line.content for line in store.lines()] == [b"a\n", b"b\n"]


def test_a_damaged_object_is_named(s3: str) -> None:
    at = f"{s3}/{uuid.uuid4()}"
    journal = Journal.create(at)
    for reason in "abc":
        journal.append("sweep.paused", reason=reason)
    journal.close()
    name = "records/000000000001.jsonl"
    objects(at).put(name, objects(at).get(name).replace(b'"b"', b'"x"'))
    with pytest.raises(JournalError, match=r"000000000001\.jsonl is damaged at byte 0"):
        list(read(at))
    with pytest.raises(JournalError):
        Journal.open(at)


def test_a_long_journal_is_read_from_packs(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is the same with packs and without, whoever made them, and however often it was taken over."""
    monkeypatch.setattr(ObjectStore, "PACK", 8)
    at, wanted = f"{s3}/{uuid.uuid4()}", list[str]()
    for writer, count in enumerate((0, 5, 17, 2, 30)):
        journal = Journal.create(at) if not writer else Journal.open(at)
        for number in range(count):
            wanted.append(f"{writer}.{number}")
            journal.append("sweep.paused", reason=wanted[-1], sync=number % 3 > 0)
        journal.close()
    assert [event["reason"] for event in read(at)] == wanted
    packs = objects(at).names("packs")
    assert len(packs) > 4
    asked: list[str] = []
    real = Objects.get_all

    def counted(self: Objects, names: Sequence[str]) -> Iterator[bytes]:
        asked.extend(names)
        return real(self, names)

    monkeypatch.setattr(Objects, "get_all", counted)
    assert [event["reason"] for event in read(at)] == wanted
    assert len([name for name in asked if name.startswith("records")]) <= 8
    objects(at).remove(packs)
    assert [event["reason"] for event in read(at)] == wanted, "the records are all there"


HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.errors import SweepError
from orchestrator.journal import Journal, lease
lease.SILENT_SECONDS, lease.BEAT_SECONDS, lease._FRESH_SECONDS = 1.0, 0.2, 0.6
journal = (Journal.create if sys.argv[2] == "create" else Journal.open)(Path(sys.argv[1]))
try:
    for number in range(10_000):
        journal.append("sweep.paused", reason=f"{sys.argv[2]} {number}")
        print(number, flush=True)
        time.sleep(0.01)
        if number == int(sys.argv[3]):
            break
except SweepError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
journal.close()
"""


def holder(path: Path, how: str, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path), how, str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_stopped_and_continued_process_writes_nothing(tmp_path: Path) -> None:
    """SIGSTOP, taken over after its silence, SIGCONT: exit 3, and the journal is the taker's."""
    path = tmp_path / "run" / "journal.jsonl"
    first = holder(path, "create", 9_999)
    try:
        assert first.stdout is not None
        while first.stdout.readline().strip() != "5":
            assert first.poll() is None
        first.send_signal(signal.SIGSTOP)
        time.sleep(1.0)  # until its last beat is no sign of life any more
        began = time.monotonic()
        second = holder(path, "open", 20)
        _, said = second.communicate(timeout=30)
        assert second.returncode == 0, said
        assert time.monotonic() - began < 25
        taken = path.read_bytes()
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=30)
    finally:
        first.kill()
    assert first.returncode == 3, said
    assert "taken over" in said
    assert path.read_bytes() == taken
    events = list(read(path))
    assert [event["reason"] for event in events[-21:]] == [f"open {number}" for number in range(21)]
    assert {event.lease for event in events} == {1, 2}
