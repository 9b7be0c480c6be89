"""A crash at any write, rename or fsync leaves a run that goes on. All of it: `python -m tests.chaos.boundaries`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.durable_files import write_durably
from orchestrator.journal import lease
from tests.chaos.boundaries import Recording, explore, in_memory, record
from tests.chaos.operations import History, Recorder, Tree

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(autouse=True)
def restored_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """`explore` shortens it."""
    monkeypatch.setattr(lease, "SILENT_SECONDS", lease.SILENT_SECONDS)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


def test_every_operation_was_recorded(recording: Recording) -> None:
    """What the recorded operations come to is the run directory, byte for byte."""
    assert dict(recording.history.final().contents()) == contents(recording.disk)
    assert len(recording.history.steps) > 400


@pytest.mark.parametrize(
    ("every", "resumes", "states"),
    [
        pytest.param(370, 1, 30, id="sample"),
        pytest.param(37, 4, 300, marks=pytest.mark.slow, id="one in 37"),
    ],
)
def test_a_crash_at_any_boundary_loses_nothing(recording: Recording, every: int, resumes: int, states: int) -> None:
    with in_memory() as work:
        figures = explore(recording, work, every=every, resumes=resumes)
    print(figures)
    assert not figures.violations, "\n".join(figures.violations[:10])
    assert figures.states > states
    assert figures.resumes == resumes


def states(operations: list[tuple[object, ...]]) -> Iterator[Tree]:
    history = History(operations)
    for point in range(len(history.steps) + 1):
        yield from history.states(point)


def test_a_file_written_in_place_is_found_torn(tmp_path: Path) -> None:
    """The replay tells the durable from the careless: a plain write is absent, empty or half there in some state."""
    recorder = Recorder(tmp_path)
    with recorder.recording():
        (tmp_path / "file").write_bytes(b"new content")
    found = {dict(tree.contents()).get("file") for tree in states(recorder.operations)}
    assert found >= {None, b"", b"n", b"new c", b"new conten", b"new content"}


def test_a_rename_without_a_sync_is_found_empty_or_undone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with recorder.recording():
        write_durably(tmp_path / "file", b"old")
        with (tmp_path / "beside").open("wb") as file:
            file.write(b"new")
        (tmp_path / "beside").replace(tmp_path / "file")
    last = History(recorder.operations)
    found = {dict(tree.contents()).get("file") for tree in last.states(len(last.steps))}
    assert {b"old", b"new", b"", b"n", b"ne"} == found


def test_a_durable_write_is_old_or_new_and_then_new(tmp_path: Path) -> None:
    """Whatever was there before the crash; in folders that were made on the way, too."""
    path = tmp_path / "made" / "on the way" / "file"
    recorder = Recorder(tmp_path)
    contents = [random.Random(number).randbytes(5000) for number in range(3)]
    with recorder.recording():
        for number, content in enumerate(contents):
            write_durably(path, content)
            recorder.note("written", number)
    history = History(recorder.operations)
    name = path.relative_to(tmp_path).as_posix()
    for point in range(len(history.steps) + 1):
        written = sum(after <= point for after, _ in history.marks)
        allowed = {contents[written - 1] if written else None, contents[min(written, 2)]}
        for tree in history.states(point):
            assert dict(tree.contents()).get(name) in allowed
