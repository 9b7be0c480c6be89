"""Figures by name, the static sheet, the page of Markdown, the verdict, and a real notebook."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import plotly.io as pio
import pytest
from nbclient import NotebookClient

from orchestrator.errors import UsageError
from orchestrator.journal import read
from orchestrator.results import Results, poster, read_state
from orchestrator.results.launch_progress import Progress
from orchestrator.results.markdown import markdown
from orchestrator.results.notebook import Display, progress_observer
from orchestrator.results.poster import draw, picture
from orchestrator.results.verdict import verdict
from tests.support.hostile_names import Elements, hostile_run, names
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT
from tests.support.synthetic_runs import invent

# Of the libraries of Jupyter, none of it ours: ipykernel's own warning about its frozen modules, and the event loop's.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter_client")


def test_a_sheet_is_a_png_of_the_promised_size(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 50)
    draw(run, state, tmp_path / "sheet.png")
    content = (tmp_path / "sheet.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1600, 1000)


def test_a_figure_carries_an_image_beside_its_interactive_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as matplotlib draws it: a static image by plotly needs a browser."""
    run, _ = invent(tmp_path, 30)
    plot = Results(run).plot
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    bundle = plot.history()._repr_mimebundle_()
    assert bundle.keys() >= {"application/vnd.plotly.v1+json", "image/png"}
    content = base64.b64decode(bundle["image/png"])
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (800, 450)
    assert all(picture(name, run, read_state(run)) for name in ("learning_curves", "importance", "rungs", "timeline"))
    assert "image/png" not in plot.parallel()._repr_mimebundle_()
    monkeypatch.setattr(poster, "find_spec", lambda name: None)
    assert "image/png" not in plot.history()._repr_mimebundle_()


@pytest.mark.slow
def test_a_sheet_as_svg_is_the_same_each_time_and_holds_no_script(tmp_path: Path) -> None:
    run = hostile_run(tmp_path, names(300))
    state = read_state(run)
    draw(run, state, tmp_path / "a.svg")
    draw(run, state, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    tree = ElementTree.parse(tmp_path / "a.svg")
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
        *("svg", "metadata", "RDF", "Work", "type", "creator", "Agent", "title", "format"),
        *("defs", "style", "g", "path", "use", "clipPath", "rect", "pattern"),
    }


def test_formulas_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    """A formula that matplotlib cannot parse would raise; one that it can would look like another name."""
    renamed = {"score": "$\\frac{1$", "model.rate": "model.$x^2$", "node0": "$y$"}
    run, state = invent(tmp_path, 50, renamed=renamed)
    draw(run, state, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 20_000


def test_a_sheet_of_a_sweep_without_a_trial(tmp_path: Path) -> None:
    run, _ = invent(tmp_path, 3)
    lines = Path(run.journal).read_bytes().splitlines(keepends=True)
    Path(run.journal).write_bytes(b"".join(lines[:2]))
    draw(run, read_state(run), tmp_path / "sheet.png")
    with pytest.raises(UsageError, match="PNG or SVG"):
        draw(run, read_state(run), tmp_path / "sheet.pdf")


def test_the_verdict_names_winner_doubt_test_and_cost(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 50)
    said = verdict(run, state)
    won = state.winner()
    assert won
    best = state.objective.best(won)
    assert best
    assert said[0].startswith(
        f"Trial {won.number} is the best: score {best.value:.4g} at epoch {best.progress}, with model."
    )
    assert said[1].startswith("Not confirmed")
    assert said[2] == "The test set was not used."
    stopped = sum(trial.status == "stopped" for trial in state.trials.values()) / 50
    epochs = sum(len(trial.reports) for trial in state.trials.values())
    assert said[3].startswith(f"The sweep took 50 trials and {epochs} epochs in ")
    assert said[3].endswith(f"; {stopped:.0%} of those that ended were stopped early.")


def test_the_verdict_of_finals_and_looks(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 20)
    row = {"configuration": 7, "mean": 0.91, "low": 0.9, "high": 0.92, "values": [0.9, 0.92], "probability": 0.97}
    row |= {"searched": 0.95, "failed": 0}
    other = {**row, "configuration": 3, "mean": None, "low": None, "high": None, "values": [], "probability": 0.0}
    found = {"table": [row, other], "level": 0.95, "confidence": 0.95, "clear": True, "optimism": 0.04, "first": 7}
    state.confirmation = {**found, "winner": {"configuration": 7}}
    look = {"look": 1, "time": 0.0, "run": "invented-finals", "trial": 2, "epoch": 9, "metrics": {"test_acc": 0.9}}
    state.test_evaluations = [look, {**look, "look": 2}]
    said = verdict(run, state)
    assert said[0].startswith("Trial 7 won: score 0.91 on average over 2 fresh trainings, with model.rate = ")
    assert said[1] == (
        "Confirmed: it is the best with probability 97%, and the 95% interval of its mean is 0.9 to 0.92."
    )
    assert "test set evaluation 2" in said[2].lower()
    assert "used 2 times" in said[2]
    plot = Results(run)
    plot.state = state
    drawn = plot.plot.finals()
    (mean,) = drawn.data[2].x
    assert (mean, drawn.data[2].error_x.array[0]) == (0.91, pytest.approx(0.01))
    assert list(drawn.data[0].x) == [0.9, 0.92]


def test_the_page_of_markdown_has_every_part_and_no_markup_of_others(tmp_path: Path) -> None:
    run, state = invent(tmp_path, 50)
    page = markdown(run, state)
    assert re.findall("^## (.*)$", page, re.MULTILINE) == [
        "The winner's parameters",
        "The best trials",
        "Importance",
        "Environment",
    ]
    assert (
        sum(
            line.startswith("| ") and line.split("|")[3].strip() in ("finished", "stopped") for line in page.split("\n")
        )
        == 10
    )
    hostile = hostile_run(tmp_path, names(400))
    page = markdown(hostile, read_state(hostile))
    assert "## Failures" in page
    assert "<" not in page
    assert "javascript:" not in re.sub(r"`[^`]*`", "", page) or "](javascript:" not in page
    assert all(character.isprintable() for character in page.replace("\n", ""))


def test_a_secret_does_not_leave_with_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    run, state = invent(tmp_path, 12, renamed={"a": "hunter2hunter2", "b": "hunter2hunter2b", "c": "hunter2hunter2c"})
    assert "hunter2" not in markdown(run, state)


@pytest.mark.slow
def test_results_in_a_cell_are_a_table_and_nothing_else(tmp_path: Path) -> None:
    run = hostile_run(tmp_path, names())
    page = Results(run)._repr_html_()
    elements = {"div", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "th@scope", "td", "p"}
    assert Elements(page).found <= elements
    assert page.count("<tr>") == 11


def test_figures_by_name_in_light_and_dark(tmp_path: Path) -> None:
    run, _ = invent(tmp_path, 50)
    plot = Results(run).plot
    light, dark = plot.history(), plot.dark.history()
    assert light.layout.template.layout.paper_bgcolor == "#ffffff"
    assert dark.layout.template.layout.paper_bgcolor != "#ffffff"
    assert plot.contour("width", "rate").layout.xaxis.title.text == "width"
    with pytest.raises(UsageError, match="it needs finals, which sweep confirm holds"):
        plot.finals()
    with pytest.raises(UsageError, match="it needs several objectives"):
        plot.front()


def test_progress_is_shown_where_somebody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = invent(tmp_path, 3)
    for wanted, terminal, shown in (
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (False, True, False),
    ):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=terminal: answer)
        with progress_observer(run, wanted) as observer:
            assert isinstance(observer, Progress) == shown
            assert shown or observer is None


def test_a_broken_display_costs_the_sweep_nothing(tmp_path: Path) -> None:
    class Broken:
        def update(self, what: object) -> None:
            raise ConnectionError("the browser is gone")

    run, state = invent(tmp_path, 3)
    display = Display(run)
    display._handle = Broken()
    *_, last = read(run.journal)
    for _ in range(3):
        display(state, last)
        display._next = 0.0
    assert display._handle is None


@pytest.mark.slow
def test_the_page_runs_as_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of the page as the cells of a notebook, run by Jupyter's own kernel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    v4: Any = nbformat.v4
    book = v4.new_notebook()
    book.cells = [v4.new_code_cell(code) for code in blocks("docs/plots.md", "python")]
    NotebookClient(book, timeout=250, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells for output in cell.outputs if "data" in output]
    drawn = [
        output.data["application/vnd.plotly.v1+json"]
        for output in shown
        if "application/vnd.plotly.v1+json" in output.data
    ]
    assert len(drawn) >= 3
    images = ["image/png" in output.data for output in shown if "application/vnd.plotly.v1+json" in output.data]
    assert images[:2] == [True, True]  # curves and history; slices have none
    assert drawn[0]["layout"]["title"]["text"].startswith("val_acc reached ")
    progress = next(
        output.data["text/html"] for output in book.cells[0].outputs if output.output_type == "display_data"
    )
    assert "6 of 6 trials" in progress
    assert '<progress max="6" value="6"' in progress
    table = next(
        output.data["text/html"] for output in shown if "is the best: val_acc" in output.data.get("text/html", "")
    )
    assert table.count("<tr>") == 7
    assert {path.name for path in tmp_path.iterdir()} >= {"sheet.png", "sheet.md", "runs"}
