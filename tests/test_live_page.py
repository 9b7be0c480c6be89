"""The live page, as a person reads it: in a real browser, while journals grow, on a phone, and by keyboard."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchestrator.journal import Event, Journal, encode
from orchestrator.page.followed_runs import FollowedRun, FollowedRuns
from orchestrator.page.run_page import live_parts, news, run_page
from orchestrator.page.server import Server
from orchestrator.page.trial_page import log_lines, trial_page
from orchestrator.page.trial_table import View, table_rows
from orchestrator.results import Results, why
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.testing import CALM, Faults, simulate
from tests.support.doc_blocks import blocks_of
from tests.support.hostile_names import Elements, hostile_run, names
from tests.support.paths import ROOT

PAGE = "docs/live-page.md"
WIDTHS = (1440, 768, 390)


def described(name: str = "first", **fields: Any) -> SweepSpec:
    base = {
        "name": name,
        "seed": 3,
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "tests.support.tiny.Tiny",
        "trainer": {"max_epochs": 9},
        "space": {
            "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
            "model.optimizer": {"choice": ["sgd", "adam"]},
            "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
        },
        "searcher": "random",
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
        "budget": {"trials": 60},
    }
    return from_mapping({**base, **fields})


def events_of(spec: SweepSpec, faults: Faults = CALM, seed: int = 5) -> list[Event]:
    return simulate(spec, slots=4, seed=seed, faults=faults).events


def written(folder: Path, events: Sequence[Event]) -> RunDirectory:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode, events)))
    return RunDirectory(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two searches of one space, of which the first lost segments, and one of three seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    written(folder / "first", events_of(described(), Faults(lost=0.04, memory=0.02)))
    written(folder / "second", events_of(described("second", searcher="sobol", budget={"trials": 40}), seed=6))
    seeds = described("seeds", repeats=3, scheduler="fifo", budget={"trials": 12})
    written(folder / "seeds", events_of(seeds, seed=7))
    return folder


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    with Server(FollowedRuns(runs)) as running:
        yield running


def followed(runs: Path, name: str = "first") -> FollowedRun:
    return FollowedRuns(runs).get(name)


def cells(html: str, column: int) -> list[str]:
    """The texts of a column of the table, without markup."""
    rows = html.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    return ["".join(part.partition(">")[2] for part in f">{row}".split("<t")[column].split("<")) for row in rows]


def test_the_table_shows_what_results_do_in_any_order_and_page(runs: Path) -> None:
    run, rows = followed(runs), Results(RunDirectory(runs / "first")).rows
    first = table_rows(run, View())
    assert cells(first, 2) == [str(row["trial"]) for row in rows[:25]]
    assert cells(first, 4) == [show(row["best"]) for row in rows[:25]]
    last = table_rows(run, View(page=99))
    assert cells(last, 2) == [str(row["trial"]) for row in rows[50:]]
    assert "51 to 60 of 60 trials" in last
    rates = sorted(row["params"]["model.learning_rate"] for row in rows)
    ascending = table_rows(run, View(sort="param:model.learning_rate", size=250))
    assert cells(ascending, 7) == [show(rate) for rate in rates]
    assert 'aria-sort="ascending"' in ascending
    finished = table_rows(run, View(status="finished", words="sgd"))
    wanted = [row for row in rows if row["status"] == "finished" and row["params"]["model.optimizer"] == "sgd"]
    assert cells(finished, 2) == [str(row["trial"]) for row in wanted]
    assert "(60 in all)" in finished


def test_a_view_is_what_its_address_says_and_nonsense_is_left_out() -> None:
    view = View("param:model.<b>", True, "stopped", "a & b", 3, 50)
    query = dict(pair.split("=") for pair in view.query()[1:].split("&"))
    assert query["sort"] == "param%3Amodel.%3Cb%3E"
    assert View.of({"rows": "7", "page": "-1", "status": "evil", "down": "yes"}) == View()
    assert View.of({"page": "9" * 40}) == View()


def test_what_the_page_sends_grows_with_the_journal_and_only_what_is_new_is_read(tmp_path: Path) -> None:
    events = events_of(described())
    half = len(events) // 2
    journal = Journal.create(tmp_path / "first" / "journal.jsonl")  # whose lease says that the sweep runs
    for event in events[:half]:
        journal.append(event.type, sync=False, **event.fields)
    run = followed(tmp_path)
    assert run.live
    before, read = news(run), run.state
    assert run.version == run.refresh() == 1
    for event in events[half:]:
        journal.append(event.type, sync=False, **event.fields)
    journal.close()
    run._next = 0.0
    assert run.refresh() == 2
    assert run.state is read
    whole = SweepState(events)
    winner = whole.winner()
    assert winner
    assert len(run.rows.rows) == len(whole.trials)
    assert f"in trial {winner.number}" in news(run)
    assert news(run) != before
    assert f"Trial {winner.number} is the best" in live_parts(run)["part-verdict"]


def test_what_was_drawn_is_drawn_again_only_for_another_version(runs: Path) -> None:
    run, drawn = followed(runs), []
    for _ in range(3):
        run.shown("x", lambda run: drawn.append(run.version))
    assert drawn == [1]
    run.version += 1
    run.shown("x", lambda run: drawn.append(run.version))
    assert drawn == [1, 2]
    run.shown("y", lambda run: drawn.append(-1), of=run.recorded)
    run.version += 1
    run.shown("y", lambda run: drawn.append(-1), of=run.recorded)
    assert drawn == [1, 2, -1]


def test_a_trial_s_page_says_why_and_its_log_is_read_as_it_grows(tmp_path: Path) -> None:
    run = written(tmp_path / "first", events_of(described()))
    shown = followed(tmp_path)
    page = trial_page(shown, 3)
    assert all(f"<li>{sentence}</li>" in page for sentence in why(shown.state, 3))
    log = LogFile(3, 0)
    file = run.root / log.relative
    assert log_lines(shown, log, None) == {"lines": [], "next": 0, "earlier": 0, "more": False}
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"line {number}\n" for number in range(1500)) + "\x1b[31mred\n")
    first = log_lines(shown, log, None)
    assert (first["earlier"], first["next"], len(first["lines"])) == (501, 1501, 1000)
    assert first["lines"][-1] == r"\x1b[31mred"
    with file.open("a") as grown:
        grown.write("new\n")
    assert log_lines(shown, log, 1501)["lines"] == ["new"]


def test_nothing_of_a_run_becomes_markup(tmp_path: Path) -> None:
    plain, hostile = (
        hostile_run(tmp_path, listed, name=name)
        for name, listed in (("plain", [f"n{number}" for number in range(150)]), ("hostile", names(150)))
    )
    elements = []
    for run in (plain, hostile):
        shown = followed(tmp_path, run.name)
        page = run_page(shown, View(size=250)) + "".join(trial_page(shown, number) for number in range(0, 150, 7))
        elements.append(Elements(page).found)
        assert not any(ord(character) < 32 and character != "\n" for character in page)
    assert elements[1] - elements[0] <= {"td@title"}


def test_a_damaged_journal_is_said_and_what_was_read_stays(tmp_path: Path) -> None:
    run = written(tmp_path / "first", events_of(described()))
    shown = followed(tmp_path)
    journal = Path(run.journal)
    journal.write_bytes(journal.read_bytes()[:-10] + b"x" * 9 + b"\n")
    shown._next = 0.0
    shown.refresh()
    page = run_page(shown, View())
    assert 'class="problem"' in page
    assert "is the best" in page


@pytest.mark.slow
def test_the_command_prints_where_and_ends_cleanly(runs: Path) -> None:
    (block,) = [block for block in blocks_of(ROOT / PAGE, ROOT) if block.language == "console"]
    (command,) = block.commands()
    written(runs / "quickstart", events_of(described()))
    arguments = [*command.split()[1:], "--runs", str(runs), "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    address, _, token = process.stdout.readline().strip().partition("?token=")
    assert (len(token), urlsplit(address).path) == (43, "/runs/quickstart")
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=10)
    connection.request("GET", "/runs/quickstart/events", headers={"Authorization": f"Bearer {token}"})
    assert json.loads(connection.getresponse().readline().removeprefix(b"data: "))["version"] == 1
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    connection.close()
    assert (process.returncode, out) == (0, "")
    assert err == "the page follows the runs; press Ctrl-C to stop\n"
