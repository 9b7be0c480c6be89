"""A journal with two records of one number, as version 0.1.0 left it: named, and repaired in a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.engine import stop_requests
from orchestrator.errors import JournalError
from orchestrator.journal import Event, decode, encode, read
from orchestrator.journal.repair import repaired
from orchestrator.results import repaired_copy
from orchestrator.results.repaired_copy import write_repaired_copy
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory, list_runs, run_at
from orchestrator.sweep import launch, resume
from tests.support.small_sweeps import request, spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A sweep that was stopped in its second trial."""
    run = run_at("tiny", tmp_path_factory.mktemp("runs"))

    def observe(state: Any, event: Event) -> None:
        if event.type == "segment.reported" and event["trial"] == 1:
            request(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stop_requests, "_POLL_SECONDS", -1.0)  # the trial may end within the usual interval
        launch(spec(budget={"trials": 2}, scheduler="fifo"), run.runs, local=True, observer=observe)
    assert [event.type for event in read(run.journal)][-1] == "sweep.paused"
    return run


@pytest.fixture
def damaged(stopped: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The same, where the record before the pause was not counted."""
    run = run_at("tiny", tmp_path / "runs")
    shutil.copytree(stopped.root, run.root)
    events = list(read(run.journal))
    write(run, [*events[:-1], replace(events[-1], seq=events[-1].seq - 1)])
    return run


def write(run: RunDirectory, events: Sequence[Event]) -> None:
    Path(run.journal).write_bytes(b"".join(map(encode, events)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_damage_is_named_with_the_command_that_repairs_it(damaged: RunDirectory) -> None:
    with pytest.raises(JournalError, match="two records of number") as error:
        check(damaged)
    assert "damaged at byte" in error.value.message
    assert "sweep verify NAME --repair" in error.value.hint


def test_a_copy_is_repaired_and_resumed_and_the_run_stays_as_it_is(damaged: RunDirectory) -> None:
    before = contents(damaged.root)
    written = write_repaired_copy(damaged)
    assert written
    copy, repair = written
    assert (copy.name, repair.dropped.type) == ("tiny-repaired", "sweep.paused")
    assert not check(copy).violations
    assert resume(copy.name, copy.runs, local=True).exit_code == 0
    assert not check(copy).violations
    assert contents(damaged.root) == before


def test_a_record_that_nobody_was_told_of_is_dropped_where_others_follow(damaged: RunDirectory) -> None:
    events = [decode(line) for line in Path(damaged.journal).read_bytes().splitlines()]
    second = replace(events[-1], type="trial.retried", fields={"trial": 0})
    write(damaged, [*events[:-1], second, Event(second.seq + 1, second.lease, 0.0, "sweep.paused", {"reason": "x"})])
    repair = repaired(Path(damaged.journal))
    assert repair
    assert repair.dropped == events[-2]


def test_a_sound_journal_is_not_copied(stopped: RunDirectory) -> None:
    assert write_repaired_copy(stopped) is None
    assert [run.name for run in list_runs(stopped.runs)] == ["tiny"]


@pytest.mark.parametrize("harm", ["a flipped bit", "a lost record", "a second doubled number"])
def test_other_damage_is_refused(harm: str, damaged: RunDirectory) -> None:
    lines = Path(damaged.journal).read_bytes().splitlines(keepends=True)
    if harm == "a flipped bit":
        lines[1] = lines[1].replace(b"launched", b"launcheD")
    elif harm == "a lost record":
        del lines[2]
    else:
        lines.insert(2, lines[1])
    Path(damaged.journal).write_bytes(b"".join(lines))
    before = contents(damaged.root)
    with pytest.raises(JournalError):
        write_repaired_copy(damaged)
    assert contents(damaged.root) == before
    assert not (damaged.root.parent / "tiny-repaired").exists()


def test_a_repair_killed_at_any_file_harms_nothing_and_is_done_again(
    damaged: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(damaged.root)
    real, killed_at, left = repaired_copy._copy, 0, 0

    class Killed(BaseException):
        pass

    def copy(source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        real(source, target)

    monkeypatch.setattr(repaired_copy, "_copy", copy)
    while True:
        left = killed_at
        try:
            write_repaired_copy(damaged)
            break
        except Killed:
            killed_at += 1
        assert [run.name for run in list_runs(damaged.runs)] == ["tiny"], "half a copy is no run"
        assert contents(damaged.root) == before
    assert killed_at > 3
    assert not check(run_at("tiny-repaired", damaged.runs)).violations


def test_links_are_not_followed_but_for_a_checkpoint_folder(damaged: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (damaged.root / "trials" / "0000" / "out").symlink_to(tmp_path / "secret")
    folder = damaged.trial(0) / "checkpoints"
    folder.rename(tmp_path / "bigger disk")
    folder.symlink_to(tmp_path / "bigger disk")
    written = write_repaired_copy(damaged)
    assert written
    copy = written[0].root
    assert not (copy / "trials" / "0000" / "out").exists()
    names = {path.name for path in (tmp_path / "bigger disk").iterdir()}
    assert {path.name for path in (copy / "trials" / "0000" / "checkpoints").iterdir()} == names
    assert not (copy / "trials" / "0000" / "checkpoints").is_symlink()


def test_the_command_says_what_it_drops(damaged: RunDirectory) -> None:
    command, runner = ["verify", "tiny", "--runs", str(damaged.runs)], CliRunner()
    refused = runner.invoke(app, command)
    assert isinstance(refused.exception, JournalError)
    done = runner.invoke(app, [*command, "--repair"])
    assert done.exit_code == 0, done.output
    assert "tiny stays as it is" in done.output.replace("\n", " ")
    assert "sweep.paused (reason sweep stop)" in done.output.replace("\n", " ")
    again = runner.invoke(app, [*command, "--repair", "--json"])
    assert json.loads(again.output)["repaired"] == "tiny-repaired-2"
