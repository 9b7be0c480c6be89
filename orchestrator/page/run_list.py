"""The list of all runs, from which some are chosen to be compared."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from orchestrator.page.layout import document, part
from orchestrator.plan.memory_size import size_text
from orchestrator.results.report.markup import Html, element, joined
from orchestrator.results.report.sections import section
from orchestrator.results.run_overview import RunSummary
from orchestrator.results.terminal_tables import duration
from orchestrator.results.why import show

_HEAD = ("compare", "name", "state", "trials", "best", "age", "size", "tags", "note")
LEAST, MOST = 2, 20


def list_page(version: int, runs: list[RunSummary | str], folder: str) -> str:
    """Return the page of the runs in a folder."""
    heading = [
        element("p", "Sweeps, live", class_="kicker"),
        element("h1", "All runs"),
        element("p", folder, class_="kin"),
    ]
    hint = element("p", f"Choose {LEAST} to {MOST} runs to compare them.", class_="kin")
    form = element(
        "form",
        part("part-runs", Html(run_rows(runs))),
        element("div", hint, element("button", "Compare", type="submit", id="compare"), class_="pages"),
        action="/compare",
        method="get",
        id="explorer",
    )
    main = section("runs", "Runs", form)
    return document("All runs", heading=joined(heading), main=[main], events="/events", at=version)


def run_rows(runs: list[RunSummary | str]) -> str:
    """Return the table of runs."""
    if not runs:
        return element("p", "No run yet. To launch one: ", element("code", "sweep launch quickstart"), class_="empty")
    head = element("tr", *(element("th", title, scope="col", class_=_kind(title)) for title in _HEAD))
    body = element("tbody", *map(_row, runs))
    caption = element("caption", "Runs, the newest first", class_="unseen")
    table = element("table", caption, element("thead", head), body, class_="runs")
    return element("div", table, class_="scroll", role="region", aria_label="Runs", tabindex="0")


def _kind(title: str) -> str | None:
    return "n" if title in ("trials", "best", "age", "size") else None


def _row(run: RunSummary | str) -> Html:
    if isinstance(run, str):
        cells = [_choice(run), _link(run), element("td", "reading …", colspan=len(_HEAD) - 2, class_="missing")]
        return element("tr", *cells)
    chip = element("span", run.status, class_=f"chip sweep-{run.status}", title=run.reason or None)
    best = joined([element("span", f"{run.metric} ", class_="soft"), show(run.best)]) if run.best is not None else "–"
    launched = datetime.fromtimestamp(run.launched, UTC)
    age = element("time", duration(time.time() - run.launched), datetime=launched.isoformat(timespec="seconds"),
                  title=f"{launched:%Y-%m-%d %H:%M UTC}")  # fmt: skip
    cells = [
        element("td", chip),
        element("td", _progress(run), class_="n"),
        element("td", best, class_="n value"),
        element("td", age, class_="n"),
        element("td", size_text(run.size), class_="n"),
        element("td", *(element("span", tag, class_="tag") for tag in run.tags)),
        element("td", run.note.partition("\n")[0], class_="note"),
    ]
    return element("tr", _choice(run.name), _link(run.name), *cells)


def _choice(name: str) -> Html:
    box = element("input", type="checkbox", name="run", value=name, aria_label=f"Compare {name}")
    return element("td", box)


def _link(name: str) -> Html:
    return element("th", element("a", name, href=f"/runs/{name}"), scope="row")


def _progress(run: RunSummary) -> object:
    if run.ended is None:
        return "–"
    if not run.limit:
        return f"{run.ended:,}"
    bar = element("progress", max=run.limit, value=min(run.ended, run.limit), aria_hidden="true")
    return joined([bar, f" {run.ended:,}/{run.limit:,}"])
