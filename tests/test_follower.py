"""Reading a journal on while it is written: in a file and in objects, nothing twice, nothing lost."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import Event, FileStore, Follower, Journal, encode, read, store_at
from orchestrator.object_storage import objects


def events(first: int, last: int, kind: str = "a") -> list[Event]:
    return [Event(seq, 1, 0.0, "noted", {"kind": kind}) for seq in range(first, last)]


def append(path: Path, found: list[Event]) -> None:
    with path.open("ab") as file:
        file.writelines(map(encode, found))


def test_each_look_brings_what_is_new_and_a_torn_line_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append(path, events(0, 3))
    follower = Follower(FileStore(path))
    assert list(follower.events()) == events(0, 3)
    assert list(follower.events()) == []
    line = encode(events(3, 4)[0])
    with path.open("ab") as file:
        file.write(line[:20])
    assert list(follower.events()) == []
    with path.open("ab") as file:
        file.write(line[20:])
    assert list(follower.events()) == events(3, 4)
    append(path, events(4, 200))
    assert list(follower.events()) == events(4, 200)
    assert list(read(path)) == events(0, 200)


def test_a_look_reads_what_is_new_alone(tmp_path: Path) -> None:
    """What lies before may be anything by now; it is not looked at."""
    path = tmp_path / "journal.jsonl"
    append(path, events(0, 50))
    follower = Follower(FileStore(path))
    assert len(list(follower.events())) == 50
    whole = path.read_bytes()
    path.write_bytes(b"x" * len(encode(events(0, 1)[0])) + whole[len(encode(events(0, 1)[0])) :])
    append(path, events(50, 51))
    assert list(follower.events()) == events(50, 51)


def test_a_write_that_was_taken_back_is_read_anew(tmp_path: Path) -> None:
    """After a full disk the last line may be cut off, and another stand in its place."""
    path = tmp_path / "journal.jsonl"
    append(path, events(0, 5))
    follower = Follower(FileStore(path))
    list(follower.events())
    path.write_bytes(b"".join(map(encode, [*events(0, 4), *events(4, 6, "b")])))
    assert list(follower.events()) == [*events(0, 4), *events(4, 6, "b")]
    path.write_bytes(b"".join(map(encode, events(0, 2))))
    assert list(follower.events()) == events(0, 2)


def test_damage_and_absence_are_named_and_do_not_end_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append(path, events(0, 5))
    follower = Follower(FileStore(path))
    list(follower.events())
    whole = path.read_bytes()
    path.write_bytes(whole + encode(events(5, 6)[0]) + b"damaged\n")
    found = []
    with pytest.raises(JournalError, match="record 6"):
        found += list(follower.events())
    path.unlink()
    with pytest.raises(FileNotFoundError):
        list(follower.events())
    path.write_bytes(whole)
    append(path, events(5, 7))
    assert list(follower.events())[-1] == events(6, 7)[0]


def test_objects_are_read_on_too(s3: str) -> None:
    url = f"{s3}/{uuid.uuid4()}"
    journal = Journal.create(url)
    follower = Follower(store_at(url))
    journal.append("noted", kind=0)
    journal.append("noted", sync=False, kind=1)
    assert [event["kind"] for event in follower.events()] == [0]
    journal.append("noted", kind=2)
    journal.append("noted", kind=3)
    assert [event["kind"] for event in follower.events()] == [1, 2, 3]
    assert list(follower.events()) == []
    journal.close()
    objects(url).remove(objects(url).names("records"))
    with pytest.raises(FileNotFoundError):
        list(follower.events())
