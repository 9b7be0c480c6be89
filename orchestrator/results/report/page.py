"""The HTML page of a report: one file that loads nothing and runs only its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from orchestrator.results.figures import FIGURES, NEEDS, Figure
from orchestrator.results.figures.figure import template
from orchestrator.results.report import sections
from orchestrator.results.report.markup import Html, data, element, joined, raw_data
from orchestrator.results.report.trial_data import trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

_SECTIONS = ("verdict", "figures", "trials", "failures", "warnings", "environment")


def html(run: RunDirectory, state: SweepState, path: Path) -> str:
    """Return the page of a sweep, to be saved at ``path``."""
    drawn = figures(run, state)
    plotly = [plotly_source(), _asset("parallel.js"), _asset("figures.js")] if drawn else []
    scripts = [_asset("page.js"), _asset("table.js"), *plotly]
    return str(
        joined(
            [
                Html("<!DOCTYPE html>\n"),
                element("html", _head(run, state, scripts), _body(run, state, path, drawn, scripts), lang="en"),
                Html("\n"),
            ]
        )
    )


def _head(run: RunDirectory, state: SweepState, scripts: list[str]) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Html(_policy(scripts))),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{run.name}: {state.objective.metric}, sweep report"),
        element("style", Html(_asset("page.css"))),
    )


def _policy(scripts: list[str]) -> str:
    """Return a policy that forbids loading and allows scripts by digest; plotly needs inline styles."""
    digests = " ".join(_digest(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _body(run: RunDirectory, state: SweepState, path: Path, drawn: list[Figure], scripts: list[str]) -> Html:
    page_scripts, plotly_scripts = scripts[:2], scripts[2:]
    leader = sections.leader_of(state)
    main = element(
        "main",
        sections.verdict_section(run, state, leader),
        sections.section("figures", "Figures", *(placeholders(drawn) or [_no_figures()]), _not_enough(drawn)),
        sections.changes_section(run, state),
        _table(state),
        sections.failure_section(state),
        sections.warning_section(run, state),
        sections.environment_section(run, state, leader),
        id="main",
    )
    return element(
        "body",
        element("a", "Skip to the verdict", href="#main", class_="skip"),
        _header(run, state, path),
        main,
        element("footer", element("p", "Made by ", element("code", f"sweep report {run.name}"), " from the journal.")),
        data("trials-data", trials(run, state)),
        *map(_script, page_scripts),
        figure_data(drawn) if drawn else None,
        *map(_script, plotly_scripts),
    )


def _header(run: RunDirectory, state: SweepState, path: Path) -> Html:
    links = [element("li", element("a", name.capitalize(), href=f"#{name}")) for name in _SECTIONS]
    return element(
        "header",
        element(
            "div",
            element("p", "Sweep report", class_="kicker"),
            element("h1", run.name),
            sections.status_line(run, state),
            sections.link_to_search(run, state, path),
        ),
        element(
            "div",
            element("nav", element("ul", *links), aria_label="Sections"),
            element("button", "Dark", id="theme", type="button", hidden=True),
            class_="bar",
        ),
    )


def _not_enough(drawn: list[Figure]) -> Html | None:
    """Return what the figures that compare parameters still need, if one is missing."""
    names = {figure.name for figure in drawn}
    missing = [name for name in ("importance", "slices", "contour", "parallel") if name not in names]
    if not missing:
        return None
    words = "; ".join(f"{name} needs {NEEDS[name]}" for name in missing)
    return element("p", f"Not enough yet: {words}.", class_="missing")


def _no_figures() -> Html:
    return element("p", "No figures yet: no trial has reported.")


def _table(state: SweepState) -> Html:
    """Return the table's frame; the page's script fills in the rows."""
    note = element("noscript", element("p", "The table and the figures need JavaScript; nothing is loaded for them."))
    statuses = sorted({trial.status.replace("_", " ") for trial in state.trials.values()})
    options = [element("option", "all", value=""), *(element("option", word, value=word) for word in statuses)]
    sizes = [element("option", f"{size}", value=f"{size}") for size in (25, 50, 100, 250)]
    controls = element(
        "div",
        element(
            "label", "Filter ", element("input", id="filter", type="search", autocomplete="off", spellcheck="false")
        ),
        element("label", "Status ", element("select", *options, id="status")),
        element("label", "Rows ", element("select", *sizes, id="rows")),
        element("button", "Download CSV", id="download", type="button"),
        class_="controls",
    )
    frame = element("div", id="table", class_="scroll", role="region", aria_labelledby="trials-title", tabindex="0")
    pages = element(
        "div",
        element("button", "Previous", id="previous", type="button"),
        element("p", id="shown", role="status"),
        element("button", "Next", id="next", type="button"),
        class_="pages",
    )
    content = element("div", controls, frame, pages, id="explorer", hidden=True)
    return sections.section("trials", "Trials", note, content)


def _script(source: str) -> Html:
    return element("script", Html(source))


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def figures(run: RunDirectory, state: SweepState) -> list[Figure]:
    """Return the figures that the sweep has data for, in order."""
    candidates = (draw(run, state) for draw in FIGURES.values())
    return [figure for figure in candidates if figure is not None]


def placeholders(drawn: list[Figure]) -> list[Html]:
    """Return a heading, an empty box of the right height and a caption for each figure."""
    return [_placeholder(figure) for figure in drawn]


def _placeholder(figure: Figure) -> Html:
    height = figure.plot.layout.height
    box = element(
        "div",
        id=f"plot-{figure.name}",
        class_="plot",
        data_figure=figure.name,
        data_height=height,
        role="img",
        aria_labelledby=f"title-{figure.name}",
        aria_describedby=f"caption-{figure.name}",
    )
    return element(
        "figure",
        element("h3", figure.title, id=f"title-{figure.name}"),
        box,
        element("figcaption", figure.caption, id=f"caption-{figure.name}"),
    )


def figure_data(drawn: list[Figure]) -> Html:
    """Return the figures' data and both plotly templates as JSON; the page draws a figure when it is scrolled to."""
    templates = {theme: _json(template(theme).to_plotly_json()) for theme in ("light", "dark")}
    themes = f'{{"light":{templates["light"]},"dark":{templates["dark"]}}}'
    return joined([raw_data("templates", themes), *(_content(figure) for figure in drawn)])


def _content(figure: Figure) -> Html:
    plot = figure.plot.to_plotly_json()
    layout = {key: value for key, value in plot["layout"].items() if key not in ("template", "title", "meta")}
    return raw_data(f"data-{figure.name}", _json({"data": plot["data"], "layout": layout}))


def _json(value: Any) -> str:
    """Return JSON; arrays of numbers become base64, and values that are not finite null."""
    from plotly.utils import PlotlyJSONEncoder

    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":"))


@cache
def plotly_source() -> str:
    """Return plotly.js as the plotly package ships it."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
