"""learning_curve.svg: the objective and the losses of the exported trial by progress, drawn by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.progress import axis, place
from orchestrator.results.winner import Winner
from orchestrator.safe_text import visible
from orchestrator.state import Trial

SIZE_INCHES = (8.0, 3.75)
_INK, _FAINT, _GRID = "#1f2328", "#59636e", "#e4e8ec"
_COLOURS = ("#0969da", "#bc4c00", "#8250df")
_LARGEST = 1e100  # larger values are not drawn, as infinities are not: the axes' arithmetic overflows
_LOSSES = ("val_loss", "train_loss")
_STYLE: Any = {
    "axes.edgecolor": _GRID,
    "axes.formatter.limits": (-4, 6),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": _FAINT,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.facecolor": "white",  # opaque, so that the text is readable on a dark page, too
    "figure.constrained_layout.h_pad": 0.12,  # inches
    "figure.constrained_layout.w_pad": 0.12,
    "font.sans-serif": ("DejaVu Sans", "Helvetica", "Arial"),
    "font.size": 10,
    "grid.color": _GRID,
    "legend.frameon": False,
    "legend.labelcolor": _FAINT,
    "lines.linewidth": 2,
    "lines.solid_joinstyle": "round",
    "path.simplify": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "learning_curve",  # identifiers do not depend on the process
    "text.color": _INK,
    "text.parse_math": False,  # a metric's name may hold dollar signs
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}


def curve(winner: Winner) -> str:
    """Return the learning curve as SVG, with the exported report marked. The same curve gives the same bytes."""
    trial, metric = winner.trial, winner.state.objective.metric
    losses = [name for name in _LOSSES if any(name in report.metrics for report in trial.reports.values())]
    panels = [[metric], losses] if losses and metric not in losses else [[metric, *losses]]
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the viewer's font has it
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for number, (axes, names) in enumerate(zip(all_axes, panels, strict=True)):
            _draw_panel(axes, trial, list(dict.fromkeys(names)), metric if number == 0 else "losses")
            axes.set_xlabel(visible(axis(winner.state.unit)))
            axes.axvline(winner.best.progress, color=_FAINT, linestyle=":", linewidth=1)
        _mark_best(all_axes[0], winner)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Title": _title(winner)})
    return svg.getvalue()


def _title(winner: Winner) -> str:
    name, metric = winner.state.spec["name"], winner.state.objective.metric
    return visible(f"{name}, {winner.title}: {metric} {winner.best.value:.4g}")


def _draw_panel(axes: Axes, trial: Trial, names: Sequence[str], title: str) -> None:
    axes.set_title(visible(title))
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    places = sorted(trial.reports)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=all(isinstance(at, int) for at in places), min_n_ticks=1))
    only = places[0] or 1
    axes.set_xlim((places[0], places[-1]) if len(places) > 1 else (only * 0.5, only * 1.5))
    for name in names:
        values = [(at, trial.value(at, name)) for at in places]
        points = [(at, value if abs(value) < _LARGEST else math.nan) for at, value in values]
        marker = "o" if sum(math.isfinite(value) for _, value in points) == 1 else None  # a line needs two points
        label = visible(name)
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, clip_on=False, gid=f"line-{label}")
    if len(names) > 1:
        axes.legend(loc="upper right")


def _mark_best(axes: Axes, winner: Winner) -> None:
    at, value = winner.best.progress, winner.best.value
    title = visible(f"{value:.4g} at {place(at, winner.state.unit)}")
    axes.set_title(title, loc="right", color=_COLOURS[0], fontweight="normal", fontsize=10)
    if winner.trial.value(at, winner.state.objective.metric) == value and abs(value) < _LARGEST:
        axes.plot(
            at,
            value,
            "o",
            color=_COLOURS[0],
            markersize=8,
            markeredgecolor="white",
            clip_on=False,
            zorder=3,
            gid="best",
        )
