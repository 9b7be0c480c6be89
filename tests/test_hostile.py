"""What others wrote comes out inert: in the terminal, in tables, in Markdown and in paths."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.errors import UsageError
from orchestrator.results import Results, why
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.safe_text import csv_cell, markdown, markdown_code, visible
from tests.support.hidden_characters import hidden
from tests.support.hostile_names import Elements, hostile_run, names
from tests.support.markers import sampled

NAMES = names()
MARKUP = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return hostile_run(tmp_path_factory.mktemp("runs"), NAMES)


def said(run: RunDirectory, *arguments: str) -> str:
    """What the command prints; it has to succeed."""
    found = CliRunner().invoke(app, [*arguments, "--runs", str(run.root.parent)])
    assert found.exit_code == 0, found.output
    return found.output


def test_there_are_as_many_as_promised_and_they_are_hostile() -> None:
    assert len(set(NAMES)) == 2000
    assert sum(bool(hidden(name)) for name in NAMES) > 500
    assert sum("<" in name for name in NAMES) > 400


def test_what_is_seen_of_a_text_hides_nothing_and_moves_nothing() -> None:
    shown = [visible(name) for name in NAMES]
    assert not any(hidden(text) or "\n" in text for text in shown)
    assert all(visible(text) == text for text in shown)


def test_a_text_that_is_all_to_be_seen_stays_as_it_is() -> None:
    for text in ("0.5", "naïve café", "日本語", "🙂", "val/acc (top-1)", "[0.1, 0.2]"):
        assert visible(text) == text


@pytest.mark.slow
@pytest.mark.parametrize("command", sampled(["status", "best", "why"], slow=["status"]))
def test_the_terminal_shows_nothing_that_is_not_seen(run: RunDirectory, command: str) -> None:
    assert not hidden(said(run, command, "hostile"))


@pytest.mark.parametrize("options", sampled([(), ("--epochs",)], slow=[()]))
def test_names_of_parameters_and_metrics_hide_nothing_in_a_table(tmp_path: Path, options: tuple[str, ...]) -> None:
    run = hostile_run(tmp_path, NAMES[:150], wide=150)
    assert not hidden(said(run, "results", "hostile", *options))


@pytest.mark.slow
def test_the_ranking_has_one_line_a_trial_and_hides_nothing(run: RunDirectory) -> None:
    shown = said(run, "results", "hostile")
    assert not hidden(shown)
    lines = shown.splitlines()
    ranked = [line for line in lines if line.split() and line.split()[0].isdecimal()]
    assert [int(line.split()[0]) for line in ranked] == list(range(1, len(NAMES) + 1))


@pytest.mark.slow
def test_every_sentence_of_why_is_one_line_that_hides_nothing(run: RunDirectory) -> None:
    state = Results(run).state
    for number in range(0, len(NAMES), 7):
        assert not any(hidden(sentence) or "\n" in sentence for sentence in why(state, number))


def test_json_keeps_every_text_and_csv_makes_no_formula(run: RunDirectory, tmp_path: Path) -> None:
    told = {row["trial"]: row["params"]["model.kind"] for row in json.loads(said(run, "results", "hostile", "--json"))}
    assert [told[number] for number in range(len(NAMES))] == NAMES
    file = tmp_path / "table.csv"
    said(run, "results", "hostile", "--out", str(file))
    with file.open(newline="", encoding="utf-8") as opened:
        table = list(csv.reader(opened))
    assert len(table) == len(NAMES) + 1
    assert len({len(row) for row in table}) == 1
    cells = [cell for row in table for cell in row]
    assert not [cell for cell in cells if cell.strip()[:1] in ("=", "+", "@", "＝") or "\x1b" in cell]
    assert all(float(cell) <= 0 for cell in cells if cell.startswith("-"))


@pytest.mark.parametrize("text", ["-0.5", "+1e9", "1", "", "plain", "a=b", "-inf"])
def test_a_number_or_plain_text_is_a_cell_as_it_is(text: str) -> None:
    assert csv_cell(text) == text


def test_markdown_is_neither_markup_nor_a_link_nor_html() -> None:
    for name in NAMES:
        text = markdown(name)
        page = f"| a | b |\n| --- | --- |\n| {text} | x |\n\nIn a line: {text}.\n\n- {text}\n\n{text}\n\nx\n{text}\n"
        found = Elements(MARKUP.render(page)).found
        assert found <= {"table", "thead", "tbody", "tr", "th", "td", "p", "ul", "li"}, (name, found)
        assert Elements(MARKUP.render(f"A span: {markdown_code(name)}.")).found == {"p", "code"}, name


def test_a_name_of_a_run_is_refused_or_stays_among_the_runs(tmp_path: Path) -> None:
    for name in NAMES:
        try:
            found = run_at(name, tmp_path).root
        except UsageError:
            continue
        assert found.resolve().parent == tmp_path.resolve()
        assert not hidden(found.name)


def test_a_path_of_a_journal_cannot_leave_the_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    for name in NAMES:
        try:
            found = run.resolve(name)
        except (UsageError, ValueError):  # ValueError: a null byte is no part of any path
            continue
        assert found.is_relative_to(run.root.resolve())
