"""The sweep's figures for the page: plotly's own JSON, drawn by the page when it is scrolled to them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from orchestrator.results.figures import FIGURES, Figure
from orchestrator.results.figures.style import template
from orchestrator.results.report.markup import Html, element, joined, raw_data
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import redact
from orchestrator.state import SweepState


def figures(run: RunDirectory, state: SweepState) -> list[Figure]:
    """Those that there is something to show for, in order."""
    found = (draw(run, state) for draw in FIGURES.values())
    return [figure for figure in found if figure is not None]


def places(found: list[Figure]) -> list[Html]:
    """Where they will be: heading, an empty box of the right height, and the caption."""
    return [_place(figure) for figure in found]


def _place(figure: Figure) -> Html:
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


def contents(found: list[Figure]) -> Html:
    """Their data, as JSON, and how they look in light and in dark."""
    templates = {theme: _json(template(theme).to_plotly_json()) for theme in ("light", "dark")}
    looks = f'{{"light":{templates["light"]},"dark":{templates["dark"]}}}'
    return joined([raw_data("templates", looks), *(_content(figure) for figure in found)])


def _content(figure: Figure) -> Html:
    plot = figure.plot.to_plotly_json()
    layout = {key: value for key, value in plot["layout"].items() if key not in ("template", "title", "meta")}
    return raw_data(f"data-{figure.name}", redact(_json({"data": plot["data"], "layout": layout})))


def _json(value: Any) -> str:
    """Arrays of numbers become base64, and what is not finite null."""
    from plotly.utils import PlotlyJSONEncoder

    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":"))


@cache
def plotly_source() -> str:
    """plotly.js, as the plotly package brings it."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
