"""A run that is being started is seen from its first second: by `status`, `list`, `watch`, and by whom it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.inspect import status
from orchestrator.errors import RunStartingError
from orchestrator.results.launch_progress import Progress
from orchestrator.results.ranked_rows import Rows
from orchestrator.results.run_overview import summary_of
from orchestrator.results.run_state import find, read_state
from orchestrator.results.terminal_tables import summary
from orchestrator.rundir import RunDirectory, list_runs
from orchestrator.rundir.startup import STARTING, Phase, Startup, phases_text, starting
from orchestrator.sweep import launch
from orchestrator.watch.header import header_lines
from orchestrator.watch.watched_sweep import Watched
from tests.support.small_sweeps import spec
from tests.support.synthetic_runs import invent


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "fresh")


def test_every_reader_sees_a_start(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    startup = Startup(run)
    assert (starting(run), list_runs(run.runs)) == ([], [])
    startup.phase("importing torch")
    startup.phase("starting Ray")
    startup.phase("starting Ray")
    assert [phase.name for phase in starting(run)] == ["importing torch", "starting Ray"]
    assert find(None, run.runs) == find("fresh", run.runs) == find("fre", run.runs) == run
    with pytest.raises(RunStartingError, match="'fresh' is being started: importing torch 0 s · starting Ray 0 s"):
        read_state(run)
    assert summary_of(run).status == "starting"
    status("fresh", str(run.runs))
    assert "is being started" in capsys.readouterr().out
    status("fresh", str(run.runs), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], [phase["name"] for phase in said["starting"]]) == (
        "starting", ["importing torch", "starting Ray"],
    )  # fmt: skip
    watched = Watched(run)
    watched.refresh()
    assert "fresh  starting: importing torch 0 s" in header_lines(watched, Rows(), 80, narrow=True)[0].plain
    startup.finish()
    assert not run.runs.exists() if isinstance(run.runs, Path) else False
    assert (startup.phases, starting(run)) == ([], [])


def test_a_start_that_was_killed_is_none(run: RunDirectory) -> None:
    run.root.mkdir(parents=True)
    (run.root / STARTING).write_text(json.dumps([["importing torch", 1.0]]))
    assert (starting(run), list_runs(run.runs)) == ([], [])
    startup = Startup(run)
    startup.phase("importing torch")  # takes the file over
    assert len(starting(run)) == 1
    startup.close()
    assert list(run.root.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '[["a"]]', '[["a", "b"]]', "[" * 5000])
def test_what_else_is_in_the_file_is_ignored(run: RunDirectory, content: str) -> None:
    startup = Startup(run)
    startup.phase("importing torch")
    (run.root / STARTING).write_text(content)
    assert starting(run) == []
    startup.close()


def test_a_second_process_that_starts_the_run_announces_nothing(run: RunDirectory) -> None:
    first, second = Startup(run), Startup(run)
    first.phase("importing torch")
    second.phase("another")
    second.close()
    assert [phase.name for phase in starting(run)] == ["importing torch"]
    first.close()


def test_the_times_of_phases_are_shown(tmp_path: Path) -> None:
    assert phases_text([Phase("importing torch", 2.2), Phase("starting Ray", 3.6)]) == (
        "importing torch 2 s · starting Ray 4 s"
    )
    existing, _ = invent(tmp_path, 2)
    startup = Startup(existing)
    startup.phase("starting Ray")
    watched = Watched(existing)
    watched.refresh()
    assert any(line.plain == "starting: starting Ray 0 s" for line in header_lines(watched, Rows(), 80, narrow=True))
    startup.close()


def test_a_launch_says_what_its_start_took(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w+") as file:
        with Progress(RunDirectory(tmp_path / "runs" / "tiny"), Console(file=file, width=200)) as progress:
            ended = launch(
                spec(trainer={"max_epochs": 1}, budget={"trials": 1}), tmp_path / "runs", local=True, observer=progress
            )
        file.seek(0)
        said = file.read()
    names = ("importing torch", "checking model and data", "preparing", "first trial")
    assert " s · ".join(names).count("·") == said.split("started in")[1].split("\n")[0].count("·")
    assert all(name in said for name in names)
    assert not (ended.run.root / STARTING).exists()


def test_the_line_above_the_live_table_is_whole(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 12)
    with (tmp_path / "said").open("w+") as file:
        console = Console(file=file, width=200)
        progress = Progress(run, console)
        progress.show(state)
        console.print(progress._view())
        file.seek(0)
        first = file.read().split("\n")[0].rstrip()
    assert first == summary(run, state, state.spec["budget"].get("trials"))
    assert len(first) > 60
