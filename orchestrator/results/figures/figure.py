"""One figure, and text that plotly shows as it stands."""

from __future__ import annotations

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
class Look:
    """How a status is drawn. ``symbol``, ``dash`` and ``hatch`` tell it apart where colours cannot."""

    words: str
    colour: str
    symbol: str
    dash: str
    hatch: str


# Of Okabe and Ito's and Tol's palettes for the colour-blind; each has a contrast of 3 and more to both backgrounds.
STATUSES: dict[str, Look] = {
    "finished": Look("finished", "#1a82c8", "circle", "solid", ""),
    "stopped": Look("stopped early", "#b8790b", "x-thin", "dot", "/"),
    "failed": Look("failed", "#d1372f", "x", "dash", "x"),
    "running": Look("running", "#009077", "triangle-right", "solid", "."),
    "interrupted": Look("interrupted", "#b5509c", "square-open", "dashdot", "-"),
    "set_aside": Look("set aside", "#7a7a7a", "diamond-open", "longdash", "|"),
}
BEST = "#d6176f"
MUTED = "#80868f"
WENT_ON = "#6f8499"
BACKGROUND: dict[Theme, str] = {"light": "#ffffff", "dark": "#14171c"}
INK: dict[Theme, str] = {"light": "#1d2129", "dark": "#e6e8eb"}
_SOFT: dict[Theme, str] = {"light": "#565d68", "dark": "#a9b0ba"}
_GRID: dict[Theme, str] = {"light": "#e6e8ec", "dark": "#2c313a"}
# From what stands back to what stands out, against either background. The better end is drawn with the latter.
SCALES: dict[Theme, list[tuple[float, str]]] = {
    "light": [(0.0, "#c9d3df"), (0.35, "#6ba3c9"), (0.7, "#2a6198"), (1.0, "#12224f")],
    "dark": [(0.0, "#37424f"), (0.35, "#35779c"), (0.7, "#5cbfc4"), (1.0, "#f2f3b0")],
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def hatched(shape: str) -> dict[str, Any]:
    """Plotly's pattern of a bar: thin lines over its colour."""
    return {"shape": shape, "size": 7, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.6)"}


@cache
def template(theme: Theme) -> go.layout.Template:
    """Our template for plotly: ``figure.update_layout(template=template("dark"))``."""
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
        "colorway": [look.colour for look in STATUSES.values()],
    }
    return go.layout.Template(layout=layout)


_MARKUP = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("$"): "&#36;"}
_LINE, _LINES = 70, 3
CONFIG: dict[str, Any] = {"responsive": True, "displaylogo": False, "showTips": False}
"""What a page passes to ``Plotly.newPlot`` beside data and layout."""


@dataclass(frozen=True)
class Figure:
    """``title`` says what was found and ``caption`` what is drawn; both are plain text, and escaped for nothing.

    ``plot`` carries the title, in plotly's own escapes, and its ``layout.meta`` the caption, for programs.
    """

    name: str
    title: str
    caption: str
    plot: go.Figure


def inert(text: object, width: int = 60) -> str:
    """Text for plotly's labels: no tag, link, formula or control character in it comes to life; long ones are cut."""
    return plain(text, width).translate(_MARKUP)


def plain(text: object, width: int = 60) -> str:
    """The same for the few labels that plotly takes as they are: the ticks of parallel coordinates."""
    shown = visible(str(text))
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def finished(name: str, title: str, caption: str, plot: go.Figure, height: int = 420) -> Figure:
    """The figure in our own style, ``height`` in CSS pixels."""
    title, caption = visible(title), visible(caption)
    lines = textwrap.wrap(title, _LINE, max_lines=_LINES, placeholder=" …") or [""]
    heading = "<br>".join(inert(line, _LINE) for line in lines)
    plot.update_layout(template=template("light"), height=height + 22 * (len(lines) - 1), meta={"caption": caption})
    plot.update_layout(title_text=heading, margin_t=64 + 22 * (len(lines) - 1))
    return Figure(name, title, caption, plot)


@dataclass(frozen=True)
class Frame:
    """From ``low`` to ``high``; ``beyond`` counts the values that lie outside."""

    low: float
    high: float
    beyond: int

    @property
    def words(self) -> str:
        """A sentence where something is outside, else nothing."""
        if not self.beyond:
            return ""
        return f" {self.beyond} far-out {'value is' if self.beyond == 1 else 'values are'} beyond the frame."


def frame(values: Floats, mode: str) -> Frame | None:
    """All finite values, and a margin; at the worse end no farther than three times the spread of the better 90 %.

    None where there is no finite value.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    losses = np.sort(-known if mode == "max" else known)
    least, usual = float(losses[0]), float(losses[int(0.9 * (len(losses) - 1))])
    most = float(losses[-1])
    if usual > least:
        most = min(most, usual + 3 * (usual - least))
    margin = 0.05 * (most - least) or 0.05 * abs(most) or 1.0
    low, high = least - margin, most + margin
    beyond = int((losses > high).sum())
    return Frame(-high, -low, beyond) if mode == "max" else Frame(low, high, beyond)
