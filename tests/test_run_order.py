"""Order among runs: lists, labels, names and space. Nothing running is touched, and no link is followed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import orchestrator
from orchestrator import cli
from orchestrator.errors import RunHeldError, UsageError
from orchestrator.journal import Journal
from orchestrator.results.run_state import find
from orchestrator.results.verify import check
from orchestrator.rundir.disk_use import disk_use
from orchestrator.rundir.labels import Labels, read_labels
from orchestrator.sweep import launch
from orchestrator.sweep.labels_of_run import archive, note, tag
from orchestrator.sweep.run_files import remove, remove_checkpoints, rename
from tests.support.small_sweeps import spec
from tests.support.synthetic_runs import invent

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs: one, two."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for name in ("one", "two"):
        run, _ = invent(tmp_path, 3)
        run.root.rename(folder / name)
    monkeypatch.setenv("SWEEP_RUNS", str(folder))
    return folder


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_a_list_shows_what_tells_runs_apart(runs: Path, sweep: Run) -> None:
    tag(find("two"), "wide", "baseline")
    archive(find("one"))
    _, out, _ = sweep("list")
    assert "two" in out
    assert "one" not in out
    assert all(word in out for word in ("completed", "3/3", "score", "wide baseline", "kB"))
    listed = json.loads(sweep("list", str(runs), "--all", "--json")[1])
    assert [(row["name"], row["archived"], row["tags"]) for row in listed] == [
        ("one", True, []), ("two", False, ["wide", "baseline"])
    ]  # fmt: skip
    assert [run.name for run in orchestrator.list_runs(tags=["wide"])] == ["two"]


def test_labels_are_beside_the_journal_which_stays_as_it_is(runs: Path, sweep: Run) -> None:
    before = (runs / "two" / "journal.jsonl").read_bytes()
    journal = Journal.open(runs / "two" / "journal.jsonl")  # while a process runs it
    try:
        assert sweep("tag", "two", "a", "b")[1].split() == ["a", "b"]
        assert sweep("tag", "two", "--remove", "a")[1].split() == ["b"]
        sweep("note", "two", "first\nsecond")
        assert sweep("note", "two")[1] == "first\nsecond\n"
    finally:
        journal.close()
    assert (runs / "two" / "journal.jsonl").read_bytes() == before
    assert read_labels(find("two")) == Labels(("b",), "first\nsecond")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"tags": 1, "note": [], "archived": "yes"}', "[" * 50_000])
def test_damaged_labels_count_as_none(runs: Path, content: str) -> None:
    find("two").labels.write_text(content)
    assert read_labels(find("two")) == Labels()


def test_labels_behind_a_link_are_not_read_and_the_link_is_not_followed(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text('{"note": "of somebody else"}')
    find("two").labels.symlink_to(other)
    assert read_labels(find("two")) == Labels()
    note(find("two"), "own")
    assert other.read_text() == '{"note": "of somebody else"}'
    assert read_labels(find("two")).note == "own"


def test_what_cannot_be_a_tag_is_refused(runs: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a tag"):
        tag(find("two"), "two words")
    assert read_labels(find("two")) == Labels()


def test_a_run_is_renamed_unless_the_name_is_taken_or_it_runs(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        rename(find("one"), "two")
    with pytest.raises(UsageError, match="cannot name a run"):
        rename(find("one"), "../one")
    (runs / "link").symlink_to(runs / "one")
    with pytest.raises(UsageError, match="is a link"):
        rename(find("link"), "three")
    journal = Journal.open(runs / "one" / "journal.jsonl")
    with pytest.raises(RunHeldError):
        rename(find("one"), "three")
    journal.close()
    assert rename(find("one"), "three").root == runs / "three"
    assert not (runs / "one").exists()


def test_a_removal_follows_no_link_and_refuses_a_running_run(runs: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (runs / "one" / "trials").symlink_to(precious)
    (runs / "link").symlink_to(runs / "two")
    journal = Journal.open(runs / "one" / "journal.jsonl")
    with pytest.raises(RunHeldError, match="is run by"):
        remove(find("one"))
    journal.close()
    with pytest.raises(UsageError, match="is a link"):
        remove(find("link"))
    remove(find("one"))
    assert sorted(path.name for path in runs.iterdir()) == ["link", "two"]
    assert (precious / "file").read_text() == "x"


def test_rm_asks_and_yes_needs_whole_names(runs: Path, sweep: Run) -> None:
    code, _, err = sweep("rm", "one")
    assert (code, "--yes" in err) == (2, True)
    code, _, err = sweep("rm", "--yes", "on")
    assert (code, "whole names" in err) == (2, True)
    assert (runs / "one").exists()
    assert sweep("rm", "--yes", "one", str(runs / "two"))[0] == 0
    assert list(runs.iterdir()) == []


def test_removing_checkpoints_keeps_the_winner_and_a_sound_journal(tmp_path: Path) -> None:
    outcome = launch(spec(), tmp_path, local=True)
    run = outcome.run
    before = disk_use(run)
    assert remove_checkpoints(run).files > 0
    after = disk_use(run)
    assert after.checkpoints < before.checkpoints
    assert after.journal >= before.journal
    assert check(run).violations == []
    best = orchestrator.load_results(run).best()
    assert best.checkpoint is not None
    assert best.checkpoint.exists()
    assert remove_checkpoints(run).files == 0
