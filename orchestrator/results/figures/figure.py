"""What all figures share: colours, plotly template, axis limits, escaped text."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.safe_text import visible

if TYPE_CHECKING:
    import plotly.graph_objects as go
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import plotly.graph_objects as go

import numpy as np

from orchestrator.results.figures.trial_columns import Floats

Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class StatusStyle:
    """The drawing style of a trial status; symbol, dash and hatch differ where colours are hard to tell apart."""

    words: str
    colour: str
    symbol: str
    dash: str
    hatch: str


# Of Okabe and Ito's and Tol's palettes for the colour-blind; each has a contrast of 3 and more to both backgrounds.
STATUSES: dict[str, StatusStyle] = {
    "finished": StatusStyle("finished", "#1a82c8", "circle", "solid", ""),
    "stopped": StatusStyle("stopped early", "#b8790b", "x-thin", "dot", "/"),
    "failed": StatusStyle("failed", "#d1372f", "x", "dash", "x"),
    "running": StatusStyle("running", "#009077", "triangle-right", "solid", "."),
    "interrupted": StatusStyle("interrupted", "#b5509c", "square-open", "dashdot", "-"),
    "set_aside": StatusStyle("set aside", "#7a7a7a", "diamond-open", "longdash", "|"),
}
BEST = "#d6176f"
MUTED = "#80868f"
CONTINUED = "#6f8499"
BACKGROUND: dict[Theme, str] = {"light": "#ffffff", "dark": "#14171c"}
INK: dict[Theme, str] = {"light": "#1d2129", "dark": "#e6e8eb"}
_SOFT: dict[Theme, str] = {"light": "#565d68", "dark": "#a9b0ba"}
_GRID: dict[Theme, str] = {"light": "#e6e8ec", "dark": "#2c313a"}
# From faint to strong against each background; the better end of the objective gets the strong colour.
SCALES: dict[Theme, list[tuple[float, str]]] = {
    "light": [(0.0, "#c9d3df"), (0.35, "#6ba3c9"), (0.7, "#2a6198"), (1.0, "#12224f")],
    "dark": [(0.0, "#37424f"), (0.35, "#35779c"), (0.7, "#5cbfc4"), (1.0, "#f2f3b0")],
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def bar_pattern(shape: str) -> dict[str, Any]:
    """Return plotly's fill pattern for a bar: thin lines over its colour."""
    return {"shape": shape, "size": 7, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.6)"}


@cache
def template(theme: Theme) -> go.layout.Template:
    """Return the plotly template of a theme: ``figure.update_layout(template=template("dark"))``."""
    import plotly.graph_objects as go

    ink, soft, grid, ground = INK[theme], _SOFT[theme], _GRID[theme], BACKGROUND[theme]
    axis = {"gridcolor": grid, "gridwidth": 1, "zeroline": False, "linecolor": soft, "tickcolor": grid}
    axis |= {"automargin": True, "title": {"font": {"color": soft, "size": 13}, "standoff": 8}}
    axis |= {"tickfont": {"color": soft, "size": 12}}
    layout: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": ink},
        "title": {"font": {"size": 16, "weight": 600}, "x": 0, "xref": "paper", "xanchor": "left", "yref": "container"},
        "paper_bgcolor": ground,
        "plot_bgcolor": ground,
        "xaxis": axis,
        "yaxis": axis,
        "margin": {"l": 56, "r": 16, "t": 64, "b": 48},
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0}
        | {"font": {"color": soft, "size": 12}},
        "coloraxis": {
            "colorscale": SCALES[theme],
            "autocolorscale": False,
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": soft}},
        },
        "hoverlabel": {"bgcolor": ground, "bordercolor": soft, "font": {"color": ink, "family": FONT, "size": 12}},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": ink},
        "colorway": [style.colour for style in STATUSES.values()],
    }
    return go.layout.Template(layout=layout)


_MARKUP = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("$"): "&#36;"}
_LINE, _LINES = 70, 3
CONFIG: dict[str, Any] = {"responsive": True, "displaylogo": False, "showTips": False, "showSendToCloud": False}
"""The configuration that a page passes to ``Plotly.newPlot``; the last removes a button that uploads it."""


@dataclass(frozen=True)
class Figure:
    """A plotly figure with its words.

    ``title`` states the result and ``caption`` what is drawn; both are plain, unescaped text. ``plot`` carries the
    title with plotly's escapes, and the caption in ``layout.meta["caption"]`` for programs.
    """

    name: str
    title: str
    caption: str
    plot: go.Figure


def escaped(text: object, width: int = 60) -> str:
    """Return text for plotly's labels: markup, formulas and control characters escaped, long text cut."""
    return shortened(text, width).translate(_MARKUP)


def shortened(text: object, width: int = 60) -> str:
    """Return text for the labels that plotly does not parse, the ticks of parallel coordinates; long text is cut."""
    shown = visible(str(text))
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def make_figure(name: str, title: str, caption: str, plot: go.Figure, height: int = 420) -> Figure:
    """Return the figure in the shared style; ``height`` is in CSS pixels."""
    title, caption = visible(title), visible(caption)
    lines = textwrap.wrap(title, _LINE, max_lines=_LINES, placeholder=" …") or [""]
    escaped_title = "<br>".join(escaped(line, _LINE) for line in lines)
    plot.update_layout(template=template("light"), height=height + 22 * (len(lines) - 1), meta={"caption": caption})
    plot.update_layout(title_text=escaped_title, margin_t=64 + 22 * (len(lines) - 1))
    return Figure(name, title, caption, plot)


@dataclass(frozen=True)
class AxisLimits:
    """The shown range of an axis, from ``low`` to ``high``, and whether its scale is logarithmic.

    ``beyond`` counts the values outside.
    """

    low: float
    high: float
    beyond: int
    log: bool = False

    @property
    def scale(self) -> dict[str, Any]:
        """Range and scale as plotly's axes take them: a logarithmic range is of decimal logarithms."""
        ends = [math.log10(self.low), math.log10(self.high)] if self.log else [self.low, self.high]
        return {"range": ends, "type": "log" if self.log else "linear"}

    @property
    def note(self) -> str:
        """A sentence about the values outside, or nothing."""
        if not self.beyond:
            return ""
        return f" {self.beyond} {'outlier is' if self.beyond == 1 else 'outliers are'} outside the axes."


_BETTER = 0.75  # the share whose spread sets the limits: up to a quarter may have diverged
_DECADES = 100.0  # from the best to the quantile, from which on a scale is logarithmic


def axis_limits(values: Floats, mode: str) -> AxisLimits | None:
    """Return limits and a scale that keep a few outliers from squeezing all other values into a line.

    They cover all finite values and a margin, but reach at the worse end at most three times the spread of the better
    three quarters. If all values are positive and these span two decades, the scale is logarithmic, and so is that
    spread. Returns None if no value is finite.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    ordered = np.sort(-finite if mode == "max" else finite)
    inner = np.abs(ordered[: int(_BETTER * (len(ordered) - 1)) + 1])
    if float(finite.min()) > 0 and len(inner) > 1 and float(inner.max()) >= _DECADES * float(inner.min()):
        limits = _linear_limits(np.log10(finite), mode)
        return AxisLimits(10**limits.low, 10**limits.high, limits.beyond, log=True)
    return _linear_limits(finite, mode)


def _linear_limits(finite: Floats, mode: str) -> AxisLimits:
    losses = np.sort(-finite if mode == "max" else finite)
    best, quantile = float(losses[0]), float(losses[int(_BETTER * (len(losses) - 1))])
    worst = float(losses[-1])
    if quantile > best:
        worst = min(worst, quantile + 3 * (quantile - best))
    margin = 0.05 * (worst - best) or 0.05 * abs(worst) or 1.0
    low, high = best - margin, worst + margin
    beyond = int((losses > high).sum())
    return AxisLimits(-high, -low, beyond) if mode == "max" else AxisLimits(low, high, beyond)
