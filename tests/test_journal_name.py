"""The journal is what its name leads to: a writer whose file was replaced writes it again, or stops with an error."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import Event, Journal, read
from orchestrator.journal import file_store as files
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from orchestrator.sweep import launch
from tests.support.small_sweeps import spec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def rename_a_copy_over(path: Path) -> None:
    """As ``sed -i``, rsync and many editors do."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def restore_an_older_copy(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.with_name("copy").write_bytes(lines[0])
    path.with_name("copy").replace(path)


def edit(path: Path) -> None:
    path.with_name("copy").write_bytes(path.read_bytes().replace(b"first", b"FIRST"))
    path.with_name("copy").replace(path)


def write_over_in_place(path: Path) -> None:
    """As ``cp backup journal.jsonl`` and some editors do: the same inode."""
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def append_a_note(path: Path) -> None:
    with path.open("a") as file:
        file.write("# a note\n")


def delete(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    """As ``cp -al`` and backups by hard link do: a write would change the backup, too."""
    path.with_name("backup").hardlink_to(path)


def put_a_pipe_there(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_a_socket_there(path: Path) -> None:
    path.unlink()
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:  # its path may not be long
        server.bind(path.name)


def put_a_loop_there(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


ACTS = [
    put_a_socket_there,
    put_a_loop_there,
    rename_a_copy_over,
    restore_an_older_copy,
    edit,
    write_over_in_place,
    truncate,
    append_a_note,
    delete,
    link,
    put_a_pipe_there,
]


@pytest.mark.parametrize("then", ["append", "append unsynced", "close"])
@pytest.mark.parametrize("act", ACTS)
def test_what_was_acknowledged_is_under_the_name_whatever_was_done_to_it(
    act: Callable[[Path], None], then: str, path: Path
) -> None:
    journal, alerts = Journal.create(path), list[str]()
    journal.alert = alerts.append
    journal.append("sweep.paused", reason="first")
    journal.append("sweep.paused", reason="second")
    act(path)
    if then != "close":
        journal.append("sweep.paused", reason="third", sync=then == "append")
        journal.append("sweep.paused", reason="fourth")
    journal.close()
    reasons = ["first", "second"] + (["third", "fourth"] if then != "close" else [])
    assert [event["reason"] for event in read(path)] == reasons
    assert path.stat().st_nlink == 1
    assert len(alerts) == 1
    assert "replaced or changed" in alerts[0]
    again = Journal.open(path)
    assert not again.notice
    again.close()


def test_what_another_program_wrote_is_kept_beside_the_journal(path: Path) -> None:
    journal, alerts = Journal.create(path), list[str]()
    journal.alert = alerts.append
    journal.append("sweep.paused", reason="first")
    edit(path)
    journal.append("sweep.paused", reason="second")
    journal.close()
    assert b"FIRST" in (path.parent / "journal.foreign.jsonl").read_bytes()
    assert "journal.foreign.jsonl" in alerts[0]


def test_a_backup_by_hard_link_stays_as_it_was(path: Path) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="first")
    link(path)
    journal.append("sweep.paused", reason="second")
    before = path.with_name("backup").read_bytes()
    journal.append("sweep.paused", reason="third")
    journal.close()
    assert path.with_name("backup").read_bytes() == before


def test_a_long_journal_is_written_again_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files._Copy, "CHUNK", 1000)
    journal = Journal.create(path)
    for number in range(100):
        journal.append("sweep.paused", reason=str(number), sync=number % 3 == 0)
    journal.close()
    whole = path.read_bytes()
    journal = Journal.open(path)
    path.unlink()
    journal.close()
    assert path.read_bytes() == whole


def test_a_journal_that_cannot_be_written_again_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="first")
    rename_a_copy_over(path)

    def read_only(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_durably", read_only)
        with pytest.raises(OSError, match="Read-only"):
            journal.append("sweep.paused", reason="second")
    journal.append("sweep.paused", reason="third")
    journal.close()
    assert [event.seq for event in read(path)] == [0, 1, 2]
    assert [event["reason"] for event in read(path)][-1] == "third"


def test_a_journal_whose_name_is_lost_for_good_does_not_close_in_silence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="first")
    delete(path)

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_durably", full)
    with pytest.raises(OSError, match="No space"):
        journal.close()


def test_a_folder_under_the_journals_name_is_an_error(path: Path) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="first")
    path.unlink()
    path.mkdir()
    with pytest.raises(JournalError, match="replaced by a folder"):
        journal.append("sweep.paused", reason="second")
    with pytest.raises(JournalError, match="replaced by a folder"):
        journal.close()


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_sweep_whose_journal_is_replaced_completes_under_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_at("tiny", tmp_path)

    def observe(state: SweepState, event: Event) -> None:
        if event.type == "trial.suggested" and event["trial"] == 1:
            restore_an_older_copy(Path(run.journal))

    outcome = launch(spec(budget={"trials": 2}), tmp_path, local=True, observer=observe)
    events = list(read(run.journal))
    assert outcome.exit_code == 0
    assert events[-1].type == "sweep.completed"
    assert sum(event.type in ("trial.finished", "trial.stopped") for event in events) == 2
    assert "written again" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.parametrize("act", ["remove", "rename"])
def test_a_sweep_whose_folder_is_gone_ends_with_an_error(act: str, tmp_path: Path) -> None:
    run = run_at("tiny", tmp_path)

    def observe(state: SweepState, event: Event) -> None:
        if event.type == "trial.suggested" and event["trial"] == 1:
            if act == "remove":
                shutil.rmtree(run.root)
            else:
                run.root.rename(tmp_path / "moved")

    with pytest.raises((RunHeldError, OSError)):
        launch(spec(budget={"trials": 2}), tmp_path, local=True, observer=observe)
    if act == "rename":
        types = [event.type for event in read(tmp_path / "moved" / "journal.jsonl")]
        assert "sweep.completed" not in types
        assert "trial.suggested" in types
