"""One figure, and text that plotly shows as it stands."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.results.figures.style import template
from orchestrator.safe_text import visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

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
