"""The table of a running `sweep launch` in a real terminal: bar and curves, Enter opens `sweep watch`, Ctrl-C stops."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.results.launch_progress import Progress
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from tests.support.paths import ROOT
from tests.support.watched_runs import described, until, write, written

SHOW = """
import sys, time
from pathlib import Path
from orchestrator.cli.watch_key import WatchKey
from orchestrator.journal.lease import acquire
from orchestrator.results.launch_progress import Progress
from orchestrator.results.run_state import read_state
from orchestrator.rundir import RunDirectory

run = RunDirectory(Path(sys.argv[1]))
lease = acquire(run.root / "lease", after=1)
try:
    with Progress(run) as progress, WatchKey(run, progress):
        while not (run.root / "ends").exists():
            progress.show(read_state(run))
            time.sleep(0.1)
except KeyboardInterrupt:
    print("it was asked to stop")
print("it has ended")
"""
Terminal = Callable[..., str]


def half() -> list[Event]:
    events = simulate(described(30, 9), slots=2).events
    return events[: until(events, lambda event: event.type == "trial.suggested" and event["trial"] == 20)]


def view(run: RunDirectory, state: SweepState, width: int, height: int, **environment: str) -> list[str]:
    with (run.root / "seen").open("w+") as file:
        console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
        progress = Progress(run, console)
        progress.show(state)
        console.print(progress._view())
        file.seek(0)
        return [line.rstrip() for line in file.read().rstrip("\n").split("\n")]


@pytest.mark.parametrize(("width", "height"), [(40, 12), (80, 24), (120, 40), (200, 60)])
def test_bar_curves_and_rows_fit_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    run, state = written(tmp_path, half()), SweepState(half())
    lines = view(run, state, width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "━" in text
    assert " left" in text
    assert "rank" in text
    assert width == 40 or "▁" in text or "█" in text, "a narrow terminal has no room for curves"
    assert lines[-1].startswith("0 s; Ctrl-C stops cleanly")
    if height >= 40:
        assert all(f" {trial.number} " in text for trial in state.trials.values())
    else:
        assert "… and " in text


def test_the_table_takes_what_has_changed_and_no_more_time_than_its_share(tmp_path: Path) -> None:
    events = half()
    run, state = written(tmp_path, events), SweepState(events[:-40])
    progress = Progress(run, Console(file=(tmp_path / "seen").open("w"), width=100, height=60, force_terminal=True))
    progress(state, events[-41])
    table = progress._table
    first = [line.plain for line in table.lines(state, 50, 100)]
    for event in events[-40:]:
        state.apply(event)
        progress(state, event)
    assert [line.plain for line in table.lines(state, 50, 100)] == first, "it was drawn a moment ago"
    table._next = 0.0
    whole = [line.plain for line in Progress(run, progress._console)._table.lines(state, 50, 100)]
    assert [line.plain for line in table.lines(state, 50, 100)] == whole != first
    progress._console.file.close()


@pytest.fixture(params=[(80, 24), (120, 40)], ids=["small", "large"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A real terminal: give it a command, or keys; it answers with what is on its screen."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux: apt install tmux")
    tmux = ["tmux", "-L", f"launch-{os.getpid()}-{tmp_path.name[-8:]}", "-f", "/dev/null"]
    width, height = request.param

    def at(*keys: str, start: str = "") -> str:
        if start:
            size = ["-x", str(width), "-y", str(height)]
            subprocess.run([*tmux, "new-session", "-d", *size, start], check=True, cwd=ROOT)
        if keys:
            subprocess.run([*tmux, "send-keys", *keys], check=True)
        return subprocess.check_output([*tmux, "capture-pane", "-p"], text=True)

    yield at
    subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


def shown(folder: Path, run: RunDirectory) -> str:
    """A command that shows the run as a launch does, between two looks at the terminal's mode."""
    (folder / "show.py").write_text(SHOW)
    command = f"{sys.executable} {folder / 'show.py'} {run.root}"
    modes = [f"stty -a > {folder / name}" for name in ("before", "after")]
    return f"sh -c 'trap : INT; {modes[0]}; {command}; {modes[1]}; echo finished; sleep 60'"


def shows(terminal: Terminal, text: str, *, gone: str = "") -> str:
    until = time.monotonic() + 30
    while text not in (found := terminal()) or (gone and gone in found):
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_enter_opens_watch_and_q_leads_back(tmp_path: Path, terminal: Terminal) -> None:
    run = written(tmp_path, half())
    terminal(start=shown(tmp_path, run))
    shows(terminal, "Enter opens sweep watch; Ctrl-C stops cleanly")
    terminal("Enter")
    shows(terminal, "rank▲", gone="Enter opens")
    terminal("q")
    found = shows(terminal, "Enter opens sweep watch", gone="rank▲")
    assert found.count("rank ") == 1, "nothing of the table before is left"
    terminal("Enter")
    shows(terminal, "rank▲")
    write(run, [Event(len(half()), 1, half()[-1].time, "sweep.paused", {"reason": "stopped"})], "ab")
    (run.root / "ends").touch()
    shows(terminal, "finished", gone="rank▲")  # watch leaves the screen with the sweep
    assert Path(tmp_path / "after").read_text() == Path(tmp_path / "before").read_text()


def launched(tmp_path: Path, terminal: Terminal) -> RunDirectory:
    """A sweep half done, shown in the terminal with its key."""
    run = written(tmp_path, half())
    terminal(start=shown(tmp_path, run))
    shows(terminal, "Enter opens sweep watch")
    return run


def stops_and_restores(tmp_path: Path, terminal: Terminal) -> None:
    """Ctrl-C ends it, and the terminal is in the mode it had."""
    terminal("C-c")
    assert "it was asked to stop" in shows(terminal, "\nfinished")
    assert Path(tmp_path / "after").read_text() == Path(tmp_path / "before").read_text()


@pytest.mark.slow
def test_control_c_stops_and_what_is_typed_opens_nothing(tmp_path: Path, terminal: Terminal) -> None:
    launched(tmp_path, terminal)
    terminal("make test", "Enter")
    time.sleep(1)
    assert "rank▲" not in terminal()
    stops_and_restores(tmp_path, terminal)


@pytest.mark.slow
def test_a_full_screen_that_is_killed_leaves_the_terminal_usable(tmp_path: Path, terminal: Terminal) -> None:
    run = launched(tmp_path, terminal)
    terminal("Enter")
    shows(terminal, "rank▲")
    arguments = f"orchestrator\0watch\0{run.root}".encode()
    (watch,) = [each for each in Path("/proc").glob("[0-9]*") if arguments in _command(each)]
    os.kill(int(watch.name), 9)
    shows(terminal, "Enter opens sweep watch", gone="rank▲")
    stops_and_restores(tmp_path, terminal)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
