"""Only the holder of the lease writes: its number never comes back, and the late write of another goes nowhere."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ObjectStoreError, RunHeldError
from orchestrator.journal import Event, FileStore, Journal, ObjectStore, encode, lease, object_lease, read
from orchestrator.journal.lease import Holder
from orchestrator.object_storage import Objects, objects

SILENT = 0.5


@pytest.fixture(autouse=True)
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder is silent after 0.5 s, and none beats: as if it was suspended."""
    monkeypatch.setattr(lease, "SILENT_SECONDS", SILENT)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 1000)
    monkeypatch.setattr(lease, "_FRESH_SECONDS", 0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def silent() -> None:
    time.sleep(0.15)


def test_a_number_does_not_come_back_after_a_refused_launch(path: Path) -> None:
    first = Journal.create(path)
    silent()
    refused = Journal.create(path)
    refused.discard()
    lease._discarded.clear()  # the next launch is another process's
    third = Journal.create(path)
    third.append("sweep.paused", reason="third")
    assert len({first.lease, refused.lease, third.lease}) == 3
    with pytest.raises(RunHeldError):
        first.append("sweep.paused", reason="first")
    third.close()
    assert [event["reason"] for event in read(path)] == ["third"]


def test_a_launch_refused_with_nobody_before_it_leaves_nothing_and_its_number_is_used_up(path: Path) -> None:
    first = Journal.create(path)
    first.discard()
    assert list(path.parent.iterdir()) == []
    second = Journal.create(path)
    assert second.lease > first.lease
    second.discard()


@pytest.mark.parametrize("harm", [Path.unlink, lambda claim: claim.write_text("{}")], ids=["removed", "replaced"])
def test_a_claim_that_was_removed_or_replaced_is_lost(harm: Callable[[Path], object], path: Path) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="held")
    harm(path.parent / "lease" / "000001")
    with pytest.raises(RunHeldError):
        journal.append("sweep.paused", reason="lost")
    assert [event["reason"] for event in read(path)] == ["held"]


def test_a_folder_of_claims_that_was_removed_says_so(path: Path) -> None:
    journal = Journal.create(path)
    for claim in (path.parent / "lease").iterdir():
        claim.unlink()
    (path.parent / "lease").rmdir()
    with pytest.raises(RunHeldError, match="removed or renamed"):
        journal.append("sweep.paused", reason="lost")


@pytest.mark.parametrize("left", ["nothing", "a torn record", "records", "records and a torn one"])
def test_a_late_write_of_a_holder_that_was_taken_over_lands_nowhere(left: str, path: Path) -> None:
    """Its check was before the takeover, its write is after: also where it had written nothing yet."""
    late = Journal.create(path)
    if "records" in left:
        late.append("sweep.paused", reason="before")
    if "torn" in left:
        os.write(late._store._file, b'{"seq":')  # type: ignore[attr-defined]
    silent()
    late._right.require()
    taker = Journal.open(path)
    taker.append("sweep.paused", reason="taken")
    before = path.read_bytes()
    late._store.append(encode(Event(late.length, late.lease, 0.0, "sweep.paused", {"reason": "late"})), sync=True)
    assert path.read_bytes() == before
    taker.append("sweep.paused", reason="still")
    taker.close()
    assert [event["reason"] for event in read(path)][-2:] == ["taken", "still"]


def test_a_holder_that_starts_late_cuts_nothing_off(path: Path) -> None:
    """It read an empty journal, slept, and opens the file that another has filled meanwhile."""
    late = FileStore(path)
    right = lease.acquire(path.parent / "lease")
    late.require = right.require
    silent()
    taker = Journal.create(path)
    for number in range(3):
        taker.append("sweep.paused", reason=str(number))
    with pytest.raises(RunHeldError):
        late.start(0, 0, proven=True)
    assert [event["reason"] for event in read(path)] == ["0", "1", "2"]
    taker.close()


class Beating:
    """A claim of a process on another machine, which beats or not."""

    def __init__(self, write: Callable[[int], None]) -> None:
        self._write, self._done = write, threading.Event()
        write(0)
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        beats = 0
        while not self._done.wait(0.1):
            beats += 1
            self._write(beats)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        self._thread.start()
        yield
        self._done.set()
        self._thread.join()


@pytest.fixture(params=["file", "s3"])
def claimed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Beating, Callable[[], Any]]:
    """The claim of a process elsewhere, and how one takes the lease."""
    other = Holder(1, "elsewhere", 7, "another boot", "another space", "1")
    if request.param == "file":
        folder = tmp_path / "run" / "lease"
        folder.mkdir(parents=True)
        claim = folder / "000001"

        def write(beat: int) -> None:
            if not beat:
                claim.write_bytes(lease._content(other))
            os.utime(claim, (beat, beat))  # a clock that is far behind

        return Beating(write), lambda: lease.acquire(folder)
    claims = object_lease.Claims(objects(f"{request.getfixturevalue('s3')}/{uuid.uuid4()}"))
    return Beating(lambda beat: claims.write(other, beat)), lambda: object_lease.acquire(claims._objects)


def test_the_lease_of_a_holder_that_beats_is_not_taken(claimed: tuple[Beating, Callable[[], Any]]) -> None:
    other, take = claimed
    with other.beating(), pytest.raises(RunHeldError):
        take()


def test_the_lease_is_not_taken_before_its_holder_was_silent_long_enough(
    claimed: tuple[Beating, Callable[[], Any]],
) -> None:
    _, take = claimed
    began = time.monotonic()
    right = take()
    assert time.monotonic() - began >= SILENT
    assert (right.epoch, right.proven) == (2, False)
    right.release()


@pytest.mark.parametrize("step", [-1e6, 1e6])
def test_a_clock_that_was_set_does_not_give_the_lease_away(
    step: float, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    journal = Journal.create(path)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step)
    with pytest.raises(RunHeldError):
        Journal.open(path)
    journal.append("sweep.paused", reason="held")
    journal.close()


def test_a_holder_taken_over_during_a_write_does_not_act_on_the_record(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look after the write: the append says so, though the one before the write found the lease held."""
    journal = Journal.create(path)
    real = FileStore.append

    def taken_meanwhile(self: FileStore, line: bytes, *, sync: bool) -> None:
        real(self, line, sync=sync)
        claim = path.parent / "lease" / "000002"
        claim.write_bytes(lease._content(Holder(2, "elsewhere", 7, "another boot", "another space", "1")))

    monkeypatch.setattr(FileStore, "append", taken_meanwhile)
    with pytest.raises(RunHeldError, match="elsewhere, process 7 has taken over"):
        journal.append("sweep.paused", reason="suspended here")


def reasons(path: Path) -> list[tuple[int, str]]:
    return [(event.lease, event["reason"]) for event in read(path)]


def written(path: Path, reason: str) -> None:
    """A process opens the journal, appends one record and closes it."""
    journal = Journal.open(path) if path.exists() else Journal.create(path)
    journal.append("sweep.paused", reason=reason)
    journal.close()


def test_a_process_suspended_before_its_claim_takes_no_number_that_was_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others took that number and the next one meanwhile, and the claims of those before were removed."""
    real, suspended = lease._link, list[int]()

    def late(folder: Path, holder: Holder) -> bool:
        if not suspended:
            suspended.append(holder.epoch)
            written(path, "second")
            written(path, "third")
            assert not (folder / "000002").exists()
        return real(folder, holder)

    written(path, "first")
    monkeypatch.setattr(lease, "_link", late)
    written(path, "suspended")
    assert suspended == [2]
    assert reasons(path) == [(1, "first"), (2, "second"), (3, "third"), (4, "suspended")]
    assert [claim.name for claim in (path.parent / "lease").iterdir()] == ["000004"]


def test_numbers_go_on_above_the_records_where_a_power_cut_brought_old_claims_back(path: Path) -> None:
    """The journal is synced, and the folder of claims is not."""
    written(path, "first")
    folder = path.parent / "lease"
    old = (folder / "000001").read_bytes()
    written(path, "second")
    written(path, "third")
    (folder / "000003").unlink()
    (folder / "000001").write_bytes(old)
    written(path, "fourth")
    assert reasons(path) == [(1, "first"), (2, "second"), (3, "third"), (4, "fourth")]


@pytest.mark.parametrize("length", [10, 60_000])
def test_the_number_of_the_last_complete_record_is_found_from_the_end(length: int, path: Path) -> None:
    assert FileStore(path).last_lease() == 0
    written(path, "x" * length)
    assert FileStore(path).last_lease() == 1
    written(path, "y" * length)
    with path.open("ab") as file:
        file.write(b'{"seq":2,"lease":9')
    assert FileStore(path).last_lease() == 2
    path.write_bytes(path.read_bytes().replace(b'"lease":2', b'"lease":3'))
    assert FileStore(path).last_lease() == 0, "it is damaged, which the open will say"


def test_a_late_write_lands_nowhere_though_the_process_that_took_over_has_died(path: Path) -> None:
    """It died before it had put another file in the journal's place; so the next one does."""
    late = Journal.create(path)
    late.append("sweep.paused", reason="before")
    silent()
    late._right.require()
    lease.acquire(path.parent / "lease", after=1).release()
    taker = Journal.open(path)
    taker.append("sweep.paused", reason="taken")
    before = path.read_bytes()
    late._store.append(encode(Event(late.length, late.lease, 0.0, "sweep.paused", {"reason": "late"})), sync=True)
    assert path.read_bytes() == before
    taker.close()
    assert reasons(path) == [(1, "before"), (3, "taken")]


def test_a_refused_launch_that_is_suspended_removes_no_journal_of_another_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over after its last check, it wakes up when the other process has written, closed and ended."""
    late = Journal.create(path)
    real = Path.rename

    def suspended(old: Path, new: Path) -> Path:
        silent()
        written(path, "another's")
        return real(old, new)

    monkeypatch.setattr(Path, "rename", suspended)
    late.discard()
    assert reasons(path) == [(2, "another's")]
    assert sorted(item.name for item in path.parent.iterdir()) == ["journal.jsonl", "lease"]


def test_a_late_rename_of_a_holder_that_was_taken_over_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was suspended after its last check, and has the same process number in another container."""
    late, right = FileStore(path), lease.acquire(path.parent / "lease")
    late.require = right.require
    real, woken = os.replace, list[Path]()

    def suspended(old: Path, new: Path) -> None:
        if new == path and not woken:
            woken.append(old)
            silent()
            written(path, "another's")
        real(old, new)

    monkeypatch.setattr(os, "replace", suspended)
    with pytest.raises(RunHeldError):
        late.start(0, 0, proven=True)
    assert woken
    assert reasons(path) == [(2, "another's")]


def test_a_holder_taken_over_while_it_puts_the_journal_in_place_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads back is the other one's file. That is no fault of the disk."""
    store, right = FileStore(path), lease.acquire(path.parent / "lease")
    store.require = right.require
    real = os.replace

    def taken_meanwhile(old: Path, new: Path) -> None:
        real(old, new)
        if new == path:
            path.write_bytes(b"the other one's")
            claim = path.parent / "lease" / "000002"
            claim.write_bytes(lease._content(Holder(2, "elsewhere", 7, "another boot", "another space", "1")))

    monkeypatch.setattr(os, "replace", taken_meanwhile)
    with pytest.raises(RunHeldError, match="elsewhere, process 7 has taken over"):
        store.start(0, 0, proven=True)


# NFS: a lookup may be answered from a cache for a minute, an open asks the server; a removed file's handle is stale


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Callable[[], None]]:
    """Makes every lookup of a path, from when the result is called on, give what it gives now."""
    real, known = os.stat, dict[str, os.stat_result | None]()

    def look_up(name: Any, *rest: Any, **named: Any) -> os.stat_result:
        if isinstance(name, int) or os.fspath(name) not in known:
            return real(name, *rest, **named)
        if (status := known[os.fspath(name)]) is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return status

    monkeypatch.setattr(os, "stat", look_up)

    def cache(name: Path) -> Callable[[], None]:
        seen = real(name) if name.exists() else None
        return lambda: known.update({str(name): seen})

    return cache


@pytest.mark.parametrize("seen", ["nothing", "an empty file"])
def test_a_launch_finds_the_journal_that_another_host_has_just_written(
    seen: str, path: Path, cached: Callable[[Path], Callable[[], None]]
) -> None:
    if seen == "an empty file":
        path.parent.mkdir()
        path.touch()
    begin = cached(path)
    written(path, "first")
    begin()
    assert not FileStore(path).empty()
    with pytest.raises(RunHeldError, match="exists already"):
        Journal.create(path)
    Journal.open(path).append("sweep.paused", reason="second")
    assert [reason for _, reason in reasons(path)] == ["first", "second"]


def test_heartbeats_of_another_host_are_seen_in_time(path: Path, cached: Callable[[Path], Callable[[], None]]) -> None:
    folder = path.parent / "lease"
    folder.mkdir(parents=True)
    claim = folder / "000001"

    def write(beat: int) -> None:
        if not beat:
            claim.write_bytes(lease._content(Holder(1, "elsewhere", 7, "another boot", "another space", "1")))
        os.utime(claim, (beat, beat))

    other = Beating(write)
    cached(claim)()
    with other.beating(), pytest.raises(RunHeldError, match="elsewhere"):
        lease.acquire(folder)


def test_a_claim_whose_answer_was_lost_on_nfs_is_held(
    path: Path, cached: Callable[[Path], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the request for a link, and the server says that there is such a name."""
    real = os.link

    def repeated(old: Path, new: Path) -> None:
        cached(old)()
        real(old, new)
        raise FileExistsError(new)

    monkeypatch.setattr(os, "link", repeated)
    right = lease.acquire(path.parent / "lease")
    assert (right.epoch, right.held) == (1, True)
    right.release()


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handle of a journal without a name is stale."""
    real_status = os.fstat

    def checked(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked_call(descriptor: int, *rest: Any) -> Any:
            name = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            if "journal.jsonl" in name and not real_status(descriptor).st_nlink:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return call(descriptor, *rest)

        return checked_call

    for name in ("fstat", "write", "fsync", "fdatasync", "ftruncate"):
        monkeypatch.setattr(os, name, checked(getattr(os, name)))


def replace_by_copy(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize("after", ["the check", "the write"])
def test_a_writer_whose_file_was_replaced_on_the_server_writes_it_again(
    after: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(path)
    waited: list[OSError] = []
    journal.patience = lambda error: waited.append(error) or len(waited) < 5  # type: ignore[func-returns-value]
    journal.alert = lambda text: None
    journal.append("sweep.paused", reason="first")
    journal.append("sweep.paused", sync=False, reason="unsynced")
    if after == "the check":
        replace_by_copy(path)
    else:
        real = FileStore.append

        def replaced(self: FileStore, line: bytes, *, sync: bool) -> None:
            real(self, line, sync=sync)
            replace_by_copy(path)

        monkeypatch.setattr(FileStore, "append", replaced)
    journal.append("sweep.paused", reason="second")
    assert [reason for _, reason in reasons(path)] == ["first", "unsynced", "second"]
    journal.close()
    assert len(waited) <= 1


@pytest.mark.usefixtures("stale")
def test_a_writer_that_was_taken_over_on_another_host_does_not_wait_for_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handle is stale, which is a fault of the storage: it asks for its lease before it waits for that."""
    late = Journal.create(path)
    late.append("sweep.paused", reason="first")
    late.patience = lambda error: pytest.fail(f"it waits: {error}")
    real, takers = FileStore.append, list[Journal]()

    def taken_meanwhile(self: FileStore, line: bytes, *, sync: bool) -> None:
        if not takers:
            silent()
            takers.append(Journal.open(path))
        real(self, line, sync=sync)

    monkeypatch.setattr(FileStore, "append", taken_meanwhile)
    with pytest.raises(RunHeldError):
        late.append("sweep.paused", reason="late")
    takers[0].append("sweep.paused", reason="second")
    assert reasons(path) == [(1, "first"), (2, "second")]
    takers[0].close()


def test_a_process_whose_threads_still_write_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process is a zombie once its first thread has ended; another may wait for the disk."""
    stat = "7 (python) {} 1 " + " ".join("0" for _ in range(15)) + " {} 0 12345 0"
    for state, threads, started in [("S", 3, "12345"), ("Z", 2, "12345"), ("Z", 1, ""), ("X", 1, "")]:
        text = stat.format(state, threads)
        monkeypatch.setattr(Path, "read_text", lambda path: text)  # noqa: B023
        assert lease._start_of(7) == started, (state, threads)


# Object storage: an answer that is lost, and what is concluded from it


class Unreliable(Objects):
    """A store that loses the answer of the next ``create``, and as many of ``size`` and ``get``."""

    lost = late = 0

    def create(self, name: str, content: bytes) -> None:
        if self.late:
            self.late, self.kept = 0, (name, bytes(content))
            raise ObjectStoreError(5, "timed out", name)
        super().create(name, content)
        if self.lost:
            self.lost -= 1
            raise ObjectStoreError(5, "timed out", name)

    def size(self, name: str) -> int | None:
        if self.lost:
            self.lost -= 1
            raise ObjectStoreError(5, "timed out", name)
        return super().size(name)


@pytest.fixture
def store(s3: str) -> Unreliable:
    return Unreliable(f"{s3}/{uuid.uuid4()}/journal")


@pytest.fixture
def journal(store: Unreliable) -> Iterator[Journal]:
    journal = Journal.for_store(ObjectStore(store), object_lease.acquire(store))
    yield journal
    journal.close()


def told(store: Unreliable) -> list[tuple[int, str]]:
    return [(event.seq, event.fields.get("reason", "")) for event in read(store.url)]


def test_a_lost_answer_is_read_again_before_anything_is_concluded(journal: Journal, store: Unreliable) -> None:
    journal.append("sweep.paused", reason="first")
    store.lost = 1
    journal.append("sweep.paused", reason="second")
    assert told(store) == [(0, "first"), (1, "second")]


@pytest.mark.parametrize("unsynced", [0, 2])
def test_a_record_whose_answer_was_lost_for_good_is_counted_by_the_next(
    unsynced: int, journal: Journal, store: Unreliable
) -> None:
    """The user stops the sweep instead of waiting: the pause is written after the record, which the state has, too."""
    accepted: list[Event] = []
    journal.accept = accepted.append
    for number in range(unsynced):
        journal.append("sweep.paused", reason=f"unsynced {number}", sync=False)
    store.lost = 2
    with pytest.raises(OSError, match="timed out"):
        journal.append("sweep.paused", reason="lost")
    journal.append("sweep.paused", reason="unsynced after", sync=False)
    journal.append("sweep.paused", reason="stopped")
    reasons = [*(f"unsynced {number}" for number in range(unsynced)), "lost", "unsynced after", "stopped"]
    assert told(store) == list(enumerate(reasons))
    assert list(read(store.url)) == accepted


def test_a_request_that_arrives_late_is_counted_before_the_record_that_met_it(
    journal: Journal, store: Unreliable
) -> None:
    accepted: list[Event] = []
    journal.accept = accepted.append
    store.late = 1
    with pytest.raises(OSError, match="timed out"):
        journal.append("sweep.paused", reason="late")
    assert told(store) == []
    Objects.create(store, *store.kept)
    journal.append("sweep.paused", reason="stopped")
    assert told(store) == [(0, "late"), (1, "stopped")]
    assert list(read(store.url)) == accepted


def test_a_request_that_never_arrives_leaves_its_number_to_the_next(journal: Journal, store: Unreliable) -> None:
    store.late = 1
    with pytest.raises(OSError, match="timed out"):
        journal.append("sweep.paused", reason="never")
    journal.append("sweep.paused", reason="stopped")
    assert told(store) == [(0, "stopped")]


def test_a_record_of_another_writer_is_still_refused(journal: Journal, store: Unreliable) -> None:
    store.late = 1
    with pytest.raises(OSError, match="timed out"):
        journal.append("sweep.paused", reason="late")
    other = encode(Event(0, 9, 0.0, "sweep.paused", {"reason": "another's"}))
    Objects.create(store, store.kept[0], other)
    with pytest.raises(RunHeldError, match="another process has written"):
        journal.append("sweep.paused", reason="stopped")


def test_a_lost_answer_at_the_close_is_no_error(store: Unreliable) -> None:
    journal = Journal.for_store(ObjectStore(store), object_lease.acquire(store))
    journal.append("sweep.paused", reason="first", sync=False)
    store.lost = 1
    journal.close()
    assert told(store) == [(0, "first")]


def test_a_claim_whose_answer_was_lost_is_held(store: Unreliable) -> None:
    store.lost = 1
    right = object_lease.acquire(store)
    assert right.held
    right.release()


def test_a_claim_in_object_storage_that_was_removed_is_lost(store: Unreliable) -> None:
    right = object_lease.acquire(store)
    store.remove(["lease/000001"])
    time.sleep(SILENT)  # until it no longer relies on its last beat
    assert not right.held
    right.release()
    assert store.names("lease") == [], "it does not write the claim again"


def test_numbers_go_on_above_the_records_where_the_claims_were_removed(store: Unreliable) -> None:
    journal = Journal.create(store.url)
    journal.close()
    journal = Journal.open(store.url)
    journal.append("sweep.paused", reason="second")
    number = journal.lease
    journal.close()
    store.remove(store.names("lease"))
    journal = Journal.open(store.url)
    assert journal.lease > number
    journal.append("sweep.paused", reason="third")
    journal.close()
    assert told(store) == [(0, "second"), (1, "third")]
