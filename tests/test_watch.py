"""`sweep watch`: what is on the screen, in a driver of Textual's and in a real terminal, while a sweep goes on."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.journal.lease import acquire
from orchestrator.results.ranked_rows import Rows
from orchestrator.results.terminal_graphics import sparkline
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import to_yaml
from orchestrator.watch.screen import WatchApp
from orchestrator.watch.watched_sweep import Watched
from tests.support.doc_blocks import blocks_of
from tests.support.hidden_characters import hidden
from tests.support.hostile_names import hostile_run, names
from tests.support.markers import sampled
from tests.support.paths import ROOT
from tests.support.watched_runs import WAITING, described, thousand, until, write, written

SMALL, LARGE = (80, 24), (160, 50)
Visit = Callable[[WatchApp, Any], Awaitable[None]]


def screen(app: WatchApp) -> str:
    """What is on the screen, line by line."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


def watching(run: RunDirectory, visit: Visit, size: tuple[int, int] = SMALL) -> None:
    """Visit the app while it shows the run."""

    async def main() -> None:
        app = WatchApp(run)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await visit(app, pilot)

    asyncio.run(main())


async def seen(app: WatchApp, pilot: Any, text: str, seconds: float = 20.0) -> None:
    """Wait until that is on the screen."""
    until = time.monotonic() + seconds
    while text not in screen(app):
        assert time.monotonic() < until, f"{text!r} is not in\n{screen(app)}"
        await pilot.pause(0.05)


async def unseen(app: WatchApp, pilot: Any, text: str, seconds: float = 20.0) -> None:
    """Wait until that is no longer on the screen."""
    until = time.monotonic() + seconds
    while text in screen(app):
        assert time.monotonic() < until, screen(app)
        await pilot.pause(0.05)


@contextlib.contextmanager
def held(run: RunDirectory) -> Iterator[None]:
    """This process runs the sweep, as far as others can tell."""
    lease = acquire(run.root / "lease")
    try:
        yield
    finally:
        lease.release()


@pytest.mark.slow
@pytest.mark.parametrize("size", sampled([SMALL, LARGE], slow=[SMALL]))
def test_a_thousand_trials_are_ranked_sorted_filtered_and_opened(tmp_path: Path, size: tuple[int, int]) -> None:
    run = written(tmp_path, thousand())
    state = Watched(run)
    state.refresh()
    winner = state.state.winner()
    assert winner is not None

    async def visit(app: WatchApp, pilot: Any) -> None:
        await seen(app, pilot, "Quit")
        text = screen(app)
        assert "watched  completed (all trials ended); the sweep has ended" in text
        assert f"trial {winner.number}, epoch" in text
        assert text.count("\n") + 1 == size[1]
        assert all(key in text for key in ("Open", "Sort", "Filter", "Stop", "Promote", "Help", "Quit"))
        assert "epoch 1: 1000" in text if size == SMALL else "FAILURES  none" in text
        assert f">     1 {winner.number:>6} finished" in text
        await pilot.press("s")  # by trial
        await seen(app, pilot, "trial▲")
        await pilot.press("home", "r")
        await seen(app, pilot, "trial▼")
        assert app.table_rows.listed(app.by, down=app.down)[0].trial == 999
        await pilot.press("f")
        await seen(app, pilot, "only finished")
        await pilot.press("escape", "slash", *"adam 99")
        await pilot.pause()
        listed = app.table_rows.listed(app.by, down=app.down, words=app.words)
        assert listed
        assert all(row.params["model.optimizer"] == "adam" and "99" in row.searched for row in listed)
        await seen(app, pilot, "only with adam 99")
        await pilot.press("enter", "end", "enter")
        await seen(app, pilot, f" trial {listed[-1].trial}  ")
        assert "Suggested: model.learning_rate" in screen(app)
        assert "METRICS" in screen(app)
        await pilot.press("escape", "question_mark")
        await seen(app, pilot, "sweep stop --trial")
        await pilot.press("escape", "q")

    watching(run, visit, size)


@pytest.mark.slow
def test_a_redraw_of_a_thousand_trials_is_quick(tmp_path: Path) -> None:
    """The bound is thrice what `python -m benchmarks.watch` holds, for busy machines."""
    events, times = thousand(), []
    run = written(tmp_path, events[:-300])

    async def visit(app: WatchApp, pilot: Any) -> None:
        for begin in range(len(events) - 300, len(events) - 100, 5):
            write(run, events[begin : begin + 5], "ab")
            drawn = asyncio.Event()
            began = time.perf_counter()
            app.poll()
            app.call_after_refresh(drawn.set)
            await drawn.wait()
            times.append(time.perf_counter() - began)

    with held(run):
        watching(run, visit, LARGE)
    assert statistics.median(times) < 0.150


@pytest.mark.slow
def test_only_lines_that_have_changed_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial among a thousand reports: its line, and not the table."""
    events = thousand()
    at = until(events, lambda event: event.type == "segment.reported" and event["trial"] == 3 and event["epoch"] == 1)
    run = written(tmp_path, events[: at - 1])
    drawn: list[Any] = []

    async def visit(app: WatchApp, pilot: Any) -> None:
        await pilot.press("s")
        await seen(app, pilot, "trial▲")
        table = app.query_one("TrialTable")
        refresh = table.refresh

        def note(*regions: Any, **options: Any) -> Any:
            drawn.append(regions)
            return refresh(*regions, **options)

        monkeypatch.setattr(table, "refresh", note)
        write(run, events[at - 1 : at], "ab")
        app.poll()

    with held(run):
        watching(run, visit)
    assert 1 <= sum(len(regions) for regions in drawn) <= 8, "those that it passes in the ranking change their rank"


@pytest.mark.slow
def test_a_sweep_grows_while_it_is_watched(tmp_path: Path) -> None:
    """A real one, in another process, from before its first trial to its end; it costs the sweep nothing."""
    sweep = described(
        3, 3, model={"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}},
        data="tests.support.tiny.TinyData",
        space={"model.learning_rate": {"log_uniform": [1e-3, 0.5]}}, objective={"metric": "val_loss", "mode": "min"},
        scheduler="fifo",
    )  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(to_yaml(sweep))
    command = [sys.executable, "-m", "orchestrator", "launch", str(tmp_path / "sweep.yaml"), "--local"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    launched = subprocess.Popen(
        [*command, "--runs", str(tmp_path)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    run, shares = run_at("watched", tmp_path), []

    async def visit(app: WatchApp, pilot: Any) -> None:
        await seen(app, pilot, "1 running", 60)
        shares.append(app.watched.time_left().share)
        assert "1 of 1 busy" in screen(app)
        await pilot.press("s", "down", "x")
        await pilot.pause()
        await pilot.press("n")
        await seen(app, pilot, "completed (all trials ended)", 60)
        await seen(app, pilot, "3 of 3 trials ended")
        assert "3 finished" in screen(app)

    try:
        while not run.exists():
            assert launched.poll() is None
            time.sleep(0.1)
        watching(run, visit)
        assert launched.wait(60) == 0
    finally:
        launched.kill()
        launched.wait()
    assert shares[0] is None or shares[0] < 1


def test_what_is_asked_by_key_comes_to_the_process_that_runs_the_sweep(tmp_path: Path) -> None:
    """After a question, and not without a yes; where nobody runs the sweep it says so."""
    events = simulate(described(8, 9, scheduler=WAITING), slots=2).events
    at = until(events, lambda event: event.type == "trial.set_aside")
    run, trial = written(tmp_path, events[:at]), events[at - 1]["trial"]

    async def ask(app: WatchApp, pilot: Any) -> None:
        app.query_one("TrialTable")._chosen = trial  # type: ignore[attr-defined]
        app.draw()
        await pilot.press("p")
        await seen(app, pilot, f"Promote trial {trial}? It is set aside now.")
        await pilot.press("n")
        await pilot.pause()
        assert not run.requests.exists()
        await pilot.press("p")
        await pilot.pause()
        await pilot.press("y")
        while not run.promote_request(trial).exists():
            await pilot.pause(0.05)
        fields = {"trial": trial, "rule": "request", "why": {"rung": 1}}
        write(run, [Event(at, 1, events[at - 1].time, "trial.promoted", fields)], "ab")
        run.promote_request(trial).unlink()
        await seen(app, pilot, f"trial {trial} continues as soon as resources are free")
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("y")
        while not run.stop_request(trial).exists():
            await pilot.pause(0.05)
        run.stop_request(trial).unlink()
        await seen(app, pilot, f"trial {trial} has stopped")

    async def refused(app: WatchApp, pilot: Any) -> None:
        await pilot.press("x", "y")
        await seen(app, pilot, "no process runs 'watched'")

    with held(run):
        watching(run, ask)
    watching(run, refused)


def test_a_journal_that_is_damaged_torn_or_gone_is_told_and_not_a_crash(tmp_path: Path) -> None:
    events = simulate(described(8, 9), slots=2).events
    run = written(tmp_path, events[:40])
    whole = Path(run.journal).read_bytes()

    async def visit(app: WatchApp, pilot: Any) -> None:
        async def look(content: bytes | None, text: str) -> None:
            if content is None:
                Path(run.journal).unlink()
            else:
                Path(run.journal).write_bytes(content)
            app.poll()
            await seen(app, pilot, text)

        await look(whole + b'{"seq":40,"le', "trials ended")
        assert "damaged" not in screen(app)
        await look(whole + b'{"seq":40,"lease":1}\n', "is damaged at byte")
        await look(whole, "trials ended")
        await unseen(app, pilot, "is damaged")
        await look(None, "was deleted; the state before that is shown")
        await look(whole, "trials ended")
        await unseen(app, pilot, "the journal was deleted")
        shutil.rmtree(run.root)
        app.poll()
        await seen(app, pilot, "the journal was deleted")

    watching(run, visit)


def test_a_sweep_whose_process_is_gone_is_interrupted_until_another_goes_on(tmp_path: Path) -> None:
    events = simulate(described(8, 9), slots=2).events
    run = written(tmp_path, events[:40])
    watched = Watched(run)
    with held(run):
        watched.refresh()
        assert watched.state.status == "running"
    assert watched.refresh()
    assert watched.state.status == "interrupted"
    assert not watched.refresh(), "nothing is new"
    with held(run):  # it was alive all the time: what it ran was not interrupted
        write(run, events[40:42], "ab")
        assert watched.refresh()
        assert watched.state.status == "running"
        assert watched.state.count("interrupted") == 0
    assert watched.refresh()
    write(run, [Event(42, 2, events[41].time + 9.0, "sweep.launched", dict(events[1].fields))], "ab")
    with held(run):
        assert watched.refresh()
        assert watched.state.status == "running"
        assert watched.state.count("interrupted") == 2, "they wait for room"


@pytest.mark.slow
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_others_wrote_is_inert_on_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    run = hostile_run(tmp_path, names())

    async def visit(app: WatchApp, pilot: Any) -> None:
        for _ in range(8):
            assert not hidden(screen(app)), screen(app)
            await pilot.press("down", "right")
        for trial in (row.trial for row in app.table_rows.listed("rank", down=False)[:3]):
            await pilot.press("enter")
            await pilot.pause()
            assert not hidden(screen(app)), (trial, screen(app))
            await pilot.press("escape", "down")

    watching(run, visit, size)


def test_rows_are_sorted_by_numbers_then_words_and_what_is_absent_comes_last(tmp_path: Path) -> None:
    events = simulate(described(30, 3)).events
    watched, rows = Watched(written(tmp_path, events)), Rows()
    watched.refresh()
    rows.update(watched.state, None)
    rates = [row.params["model.learning_rate"] for row in rows.listed("param:model.learning_rate", down=True)]
    assert rates == sorted(rates, reverse=True)
    kinds = [row.params["model.optimizer"] for row in rows.listed("param:model.optimizer", down=False)]
    assert kinds == sorted(kinds)
    assert [row.trial for row in rows.listed("rank", down=False)] == [t.number for t in watched.state.ranking()]
    best = [row.best for row in rows.listed("best", down=False)]
    assert best == sorted(best, key=lambda value: (value is None, value))


def test_rows_that_are_kept_are_those_that_would_be_made_anew(tmp_path: Path) -> None:
    events = simulate(described(20, 9, scheduler=WAITING), slots=3, seed=4).events
    run = written(tmp_path, events[:5])
    with held(run):
        watched, rows = Watched(run), Rows()
        for begin in range(5, len(events), 7):
            watched.refresh()
            rows.update(watched.state, watched.changed_trials)
            fresh = Rows()
            fresh.update(watched.state, None)
            assert (rows.rows, list(rows.ranks.items())) == (fresh.rows, list(fresh.ranks.items()))
            assert list(rows.ranks) == [trial.number for trial in watched.state.ranking()]
            write(run, events[begin : begin + 7], "ab")


def test_a_curve_is_as_long_as_its_training_and_survives_any_number() -> None:
    assert sparkline([], 9, 9) == ""
    assert sparkline([1.0, 2.0, 3.0], 9, 9) == "▁▄█"[:0] + "▁▅█"
    assert sparkline([1.0] * 3, 9, 9) == "▅▅▅"
    assert sparkline([1.0, math.nan, 0.0, math.inf], 9, 9) == "█×▁×"
    assert sparkline([1e308, -1e308, 0.0], 9, 9) == "█▁▅"
    assert len(sparkline([float(epoch) for epoch in range(100)], 9, 100)) == 9
    assert len(sparkline([float(epoch) for epoch in range(50)], 10, 100)) == 5
    assert sparkline([float(epoch) for epoch in range(100)], 9, 100)[-1] == "█"
    for epochs in range(1, 120):
        for width in (1, 7, 9, 20):
            assert 1 <= len(sparkline([1.0] * epochs, width, 100)) <= width


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line, environment = [sys.executable, "-m", "orchestrator", *arguments], os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_terminal_it_prints_how_the_sweep_stands_and_ends(tmp_path: Path) -> None:
    written(tmp_path, simulate(described(8, 9)).events)
    answer = command("watch", "watched", "--runs", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "watched  completed (all trials ended)" in answer.stdout
    assert "8 of 8 trials ended" in answer.stdout
    assert "rungs    epoch 1: 8" in answer.stdout
    assert "\x1b" not in answer.stdout
    assert answer.stderr == ""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A real terminal of 80 by 24: give it a command, or keys; it answers with what is on its screen."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux: apt install tmux")
    tmux = ["tmux", "-L", f"watch-{os.getpid()}-{tmp_path.name[-8:]}", "-f", "/dev/null"]

    def at(*keys: str, start: str = "", colours: bool = False) -> str:
        if start:
            subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", start], check=True, cwd=ROOT)
        if keys:
            subprocess.run([*tmux, "send-keys", *keys], check=True)
        return subprocess.check_output([*tmux, "capture-pane", "-p", *["-e"] * colours], text=True)

    yield at
    subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


def shows(terminal: Callable[..., str], text: str) -> str:
    until = time.monotonic() + 30
    while text not in (found := terminal()):
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_in_a_real_terminal_it_answers_keys_and_leaves_the_screen_as_it_was(
    tmp_path: Path, terminal: Callable[..., str]
) -> None:
    run = written(tmp_path, thousand())
    watch = f"env -u NO_COLOR {sys.executable} -m orchestrator watch watched --runs {tmp_path}"
    terminal(start=f"sh -c 'echo before; {watch}; echo it ended with $?; sleep 60'")
    found = shows(terminal, "rank▲")
    assert "1,000 of 1,000 trials ended" in found
    assert "\x1b[32m" in terminal(colours=True), "what finished is green"
    terminal("Enter")
    assert "Judged by its best epoch" in shows(terminal, "Suggested:")
    terminal("Escape")
    shows(terminal, "rank▲")
    terminal("q")
    assert shows(terminal, "it ended with 0").startswith("before\nit ended with 0")
    assert Path(run.journal).exists()


@pytest.mark.slow
def test_without_colour_nothing_is_coloured(tmp_path: Path, terminal: Callable[..., str]) -> None:
    written(tmp_path, simulate(described(8, 9)).events)
    watch = f"{sys.executable} -m orchestrator watch watched --runs {tmp_path}"
    terminal(start=f"sh -c 'NO_COLOR=1 {watch}; TERM=vt100 {watch}; sleep 60'")
    shows(terminal, "rank▲")
    codes = {code for part in terminal(colours=True).split("\x1b[")[1:] for code in part.split("m")[0].split(";")}
    assert codes <= {"", "0", "1", "2", "4", "7", "39", "49"}, codes
    terminal("q")
    assert "TERM=vt100 is no terminal for a full screen" in shows(terminal, "rank   trial")


@pytest.mark.slow
def test_the_page_is_true(tmp_path: Path) -> None:
    """Its keys are those that there are, and its commands run."""
    page = (ROOT / "docs/watch.md").read_text()
    keys = {binding.key for binding in WatchApp.BINDINGS}  # type: ignore[union-attr]
    told = {"slash": "/", "question_mark": "?", "escape": "esc"}
    assert [key for key in keys if f"`{told.get(key, key)}`" not in page and told.get(key, key) not in page] == []
    written(tmp_path, simulate(described(8, 9)).events)
    for line in (line for block in blocks_of(ROOT / "docs/watch.md", ROOT) for line in block.commands()):
        words = line.removeprefix("sweep ").split(" | ")[0].replace("NAME", "watched").split()
        answer = command(*words, "--runs", str(tmp_path))
        assert answer.returncode in (0, 2), answer.stderr
        assert (answer.returncode == 0) == (words[0] == "watch"), "a sweep that has ended promotes nobody"
