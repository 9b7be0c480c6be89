"""The HTML page of a report: one file that loads nothing and runs only its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
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
    leader = sections.leader_of(state)
    return document(
        f"{run.name}: {state.objective.metric}, sweep report",
        heading=[
            element("p", "Sweep report", class_="kicker"),
            element("h1", run.name),
            sections.status_line(run, state),
            sections.link_to_search(run, state, path),
        ],
        navigation=[(name, name.capitalize()) for name in _SECTIONS],
        main=[
            sections.verdict_section(run, state, leader),
            sections.section("figures", "Figures", *(placeholders(drawn) or [_no_figures()]), _not_enough(drawn)),
            sections.changes_section(run, state),
            _table(state),
            sections.failure_section(state),
            sections.warning_section(run, state),
            sections.environment_section(run, state, leader),
        ],
        footer=f"sweep report {run.name}",
        before=[data("trials-data", trials(run, state))],
        table=True,
        **figures_with_data(drawn),
    )


def document(
    title: str,
    *,
    heading: Sequence[Html | None],
    navigation: Sequence[tuple[str, str]],
    main: Sequence[Html | None],
    footer: str,
    before: Sequence[Html] = (),
    table: bool = False,
    plots: Html | None = None,
    plot_scripts: Sequence[str] = (),
) -> str:
    """Return a page that loads nothing and runs only its own scripts.

    Args:
        title: in the browser's tab.
        heading: what stands above the navigation.
        navigation: identifiers and words of the sections.
        main: the sections.
        footer: the command that made the page.
        before: data of the page's own scripts.
        table: whether it has the table of trials.
        plots: data of figures.
        plot_scripts: scripts that draw them.
    """
    page_scripts = [asset("page.js"), *([asset("table.js")] if table else [])]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Html(_policy([*page_scripts, *plot_scripts]))),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(asset("page.css"))),
    )
    body = element(
        "body",
        element("a", "Skip to the verdict", href="#main", class_="skip"),
        _header(heading, navigation),
        element("main", *main, id="main"),
        element("footer", element("p", "Made by ", element("code", footer), " from the journal.")),
        *before,
        *map(_script, page_scripts),
        plots,
        *map(_script, plot_scripts),
    )
    return str(joined([Html("<!DOCTYPE html>\n"), element("html", head, body, lang="en"), Html("\n")]))


def figures_with_data(drawn: list[Figure]) -> dict[str, Any]:
    """Return what `document` needs for figures; nothing without one."""
    if not drawn:
        return {}
    scripts = [plotly_source(), asset("parallel.js"), asset("figures.js")]
    return {"plots": figure_data(drawn), "plot_scripts": scripts}


def _policy(scripts: list[str]) -> str:
    """Return a policy that forbids loading and allows scripts by digest; plotly needs inline styles."""
    digests = " ".join(_digest(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _header(heading: Sequence[Html | None], navigation: Sequence[tuple[str, str]]) -> Html:
    links = [element("li", element("a", words, href=f"#{id}")) for id, words in navigation]
    return element(
        "header",
        element("div", *heading),
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
def asset(name: str) -> str:
    """Return a style sheet or a script of the page."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def figures(run: RunDirectory, state: SweepState) -> list[Figure]:
    """Return the figures that the sweep has data for, in order."""
    candidates = (draw(run, state) for draw in FIGURES.values())
    return [figure for figure in candidates if figure is not None]


def placeholders(drawn: list[Figure]) -> list[Html]:
    """Return a heading, an empty box of the right height and a caption for each figure."""
    return [_placeholder(figure) for figure in drawn]


def _placeholder(figure: Figure) -> Html:
    return figure_box(figure.name, figure.title, figure.caption, figure.plot.layout.height)


def figure_box(
    name: str, title: str, caption: str, height: int, source: str | None = None, needs: str | None = None
) -> Html:
    """Return a figure's heading, empty box and caption.

    A live page fetches all three from ``source``, and says what the figure ``needs`` where there is none yet.
    """
    box = element(
        "div",
        id=f"plot-{name}",
        class_="plot",
        data_figure=name,
        data_height=height,
        data_source=source,
        data_needs=needs,
        role="group",
        aria_labelledby=f"title-{name}",
        aria_describedby=f"caption-{name}",
    )
    return element(
        "figure",
        element("h3", title, id=f"title-{name}"),
        box,
        element("figcaption", caption, id=f"caption-{name}"),
    )


def figure_data(drawn: list[Figure]) -> Html:
    """Return the figures' data and both plotly templates as JSON; the page draws a figure when it is scrolled to."""
    contents = (raw_data(f"data-{figure.name}", figure_content(figure)) for figure in drawn)
    return joined([raw_data("templates", templates()), *contents])


def templates() -> str:
    """Return the plotly templates of both themes as JSON."""
    light, dark = (_json(template(theme).to_plotly_json()) for theme in ("light", "dark"))
    return f'{{"light":{light},"dark":{dark}}}'


def figure_content(figure: Figure) -> str:
    """Return a figure's data and layout as JSON, with its title and caption."""
    plot = figure.plot.to_plotly_json()
    layout = {key: value for key, value in plot["layout"].items() if key not in ("template", "title", "meta")}
    words = {"title": figure.title, "caption": figure.caption, "height": figure.plot.layout.height}
    return _json({"data": plot["data"], "layout": layout, **words})


def _json(value: Any) -> str:
    """Return JSON; arrays of numbers become base64, and values that are not finite null."""
    from plotly.utils import PlotlyJSONEncoder

    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":"))


@cache
def plotly_source() -> str:
    """Return plotly.js as the plotly package ships it."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
