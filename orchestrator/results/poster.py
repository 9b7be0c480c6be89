"""A sweep as one static picture, PNG (1600 x 1000 px) or SVG, for slides, chats and papers."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.extras import require
from orchestrator.progress import axis, counted, place
from orchestrator.results.figures.curves import Curve, curves
from orchestrator.results.figures.figure import BEST, CONTINUED, MUTED, STATUSES, axis_limits, shortened
from orchestrator.results.figures.history import history_of
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.rungs import FATES, rungs_of
from orchestrator.results.figures.timeline import columns_of, timeline_of
from orchestrator.results.verdict import verdict
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
_INK, _SOFT, _GRID = "#1d2129", "#565d68", "#e6e8ec"
_DASHES = {"solid": "-", "dot": ":", "dash": "--", "dashdot": "-.", "longdash": (0, (8, 3))}
_MARKS = {"finished": "o", "stopped": "x", "failed": "X", "running": ">", "interrupted": "s", "set_aside": "D"}
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.formatter.useoffset": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "sweep",
    "svg.fonttype": "path",
}


def draw(run: RunDirectory, state: SweepState, path: Path) -> None:
    """Write the picture to ``path``, whose suffix names the format.

    Raises:
        UsageError: If the suffix is neither .png nor .svg.
    """
    require("matplotlib", purpose="the report as a picture")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"a poster is PNG or SVG, not {path.suffix or 'without a suffix'!r}", hint="for example poster.png"
        )
    with _drawing_style():
        content = _render(run, state, suffix[1:])
    write_durably(path, content)


def picture(name: str, run: RunDirectory, state: SweepState) -> bytes | None:
    """Return one figure as PNG (800 x 450 px); None if it cannot be drawn, or matplotlib is not installed.

    Args:
        name: of the figure, as in `orchestrator.results.figures.FIGURES`.
        run: the sweep's.
        state: what is drawn.
    """
    draws: dict[str, Callable[[Axes], None]] = {
        "learning_curves": lambda axes: _curves(axes, state),
        "history": lambda axes: _history(axes, state),
        "importance": lambda axes: _importance(axes, state),
        "rungs": lambda axes: _rungs(axes, state),
        "timeline": lambda axes: _timeline(axes, run, state),
    }
    if name not in draws or find_spec("matplotlib") is None:
        return None
    with _drawing_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        drawing = Figure(figsize=(8, 4.5), dpi=100, facecolor="white", layout="tight")
        FigureCanvasAgg(drawing)
        draws[name](drawing.add_subplot())
        return _saved(drawing, "png")


@contextmanager
def _drawing_style() -> Iterator[None]:
    """Apply the style and silence warnings about glyphs missing from the font, which are drawn as boxes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing from.*")
        yield


def _render(run: RunDirectory, state: SweepState, format: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    poster = Figure(figsize=(16, 10), dpi=100, facecolor="white")
    FigureCanvasAgg(poster)
    top = _heading(poster, run, state)
    grid = poster.add_gridspec(2, 6, left=0.055, right=0.98, top=top, bottom=0.07, hspace=0.34, wspace=0.9)
    _curves(poster.add_subplot(grid[0, :4]), state)
    _importance(poster.add_subplot(grid[0, 4:]), state)
    _history(poster.add_subplot(grid[1, :2]), state)
    _rungs(poster.add_subplot(grid[1, 2:4]), state)
    _timeline(poster.add_subplot(grid[1, 4:]), run, state)
    return _saved(poster, format)


def _saved(drawing: Any, format: str) -> bytes:
    buffer = BytesIO()
    drawing.savefig(buffer, format=format, metadata={"Date": None} if format == "svg" else {})
    return buffer.getvalue()


def _heading(poster: Any, run: RunDirectory, state: SweepState) -> float:
    """Write name and verdict; return the height left below, as a share of the poster."""
    poster.text(0.02, 0.965, shortened(run.name, 90), fontsize=19, fontweight="bold", va="top")
    sentences = verdict(run, state)
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 190)][:7]
    for row, line in enumerate(lines):
        weight, colour = ("bold", _INK) if row == 0 else ("normal", _SOFT)
        poster.text(0.02, 0.92 - 0.022 * row, line, fontsize=10.5, va="top", fontweight=weight, color=colour)
    return 0.92 - 0.022 * len(lines) - 0.055


def _empty(axes: Axes, title: str, reason: str) -> None:
    axes.set_title(title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def _curves(axes: Axes, state: SweepState) -> None:
    data = curves(state)
    if data is None:
        _empty(axes, "Learning curves", "nothing reported yet")
        return
    if data.bands:
        bands = data.bands
        axes.fill_between(bands.progress, bands.values[:, 0], bands.values[:, 4], color=MUTED, alpha=0.15, lw=0)
        axes.plot(bands.progress, bands.values[:, 2], color=MUTED, ls="--", lw=1.5, label="median, middle 80 % of all")
    legend: set[str] = set()
    for curve in data.shown:
        if curve is data.best:
            axes.plot(
                curve.progress, curve.values, color=BEST, lw=2.8, marker="o", ms=3, label=f"best: trial {curve.trial}"
            )
        else:
            _curve(axes, curve, len(data.shown) > 60, legend)
    limits = axis_limits(np.concatenate([curve.values for curve in data.shown]), data.mode)
    if limits:
        axes.set_yscale("log" if limits.log else "linear")
        axes.set_ylim(limits.low, limits.high)
    sampled = f", {len(data.shown):,} of {counted(data.total, 'trial')}" if len(data.shown) < data.total else ""
    axes.set_title(f"Learning curves{sampled}")
    axes.set_xlabel(axis(data.unit))
    axes.set_ylabel(shortened(data.metric, 40))
    axes.legend(loc="best", ncols=2)


def _curve(axes: Axes, curve: Curve, many: bool, legend: set[str]) -> None:
    style = STATUSES[curve.status]
    label = None if curve.status in legend else style.words
    legend.add(curve.status)
    last = [len(curve.progress) - 1] if len(curve.progress) else []
    options: dict[str, Any] = {
        "color": style.colour,
        "lw": 0.9,
        "ls": _DASHES[style.dash],
        "alpha": 0.35 if many else 0.85,
    }
    axes.plot(curve.progress, curve.values, **options, marker=_MARKS[curve.status], markevery=last, ms=4.5, label=label)


def _history(axes: Axes, state: SweepState) -> None:
    data = history_of(state)
    if data is None:
        _empty(axes, "History", "no trial has a value yet")
        return
    columns = data.trials
    for status, style in STATUSES.items():
        places = data.shown[columns.statuses[data.shown] == status]
        if len(places):
            marks: dict[str, Any] = {
                "s": 14,
                "alpha": 0.5 if len(data.shown) > 300 else 0.9,
                "marker": _MARKS[status],
                "lw": 0.9,
            }
            axes.scatter(
                columns.numbers[places],
                columns.values[places],
                color=style.colour,
                label=style.words,
                **marks,
            )
    last = max(int(columns.numbers[-1]), int(data.steps[-1]) + 1)
    steps, records = [*data.steps, last], [*data.records, data.records[-1]]
    axes.step(steps, records, where="post", color=BEST, lw=2.2, label="best so far")
    limits = axis_limits(columns.values, columns.mode)
    if limits:
        axes.set_yscale("log" if limits.log else "linear")
        axes.set_ylim(limits.low, limits.high)
    axes.set_title("History, and the best so far")
    axes.set_xlabel("trial, in the order suggested")
    axes.set_ylabel(shortened(columns.metric, 40))


def _importance(axes: Axes, state: SweepState) -> None:
    data = importance_of(state)
    if data is None:
        _empty(axes, "Importance", "too few trials")
        return
    listed = list(data.shares.items())[:12]
    places = np.arange(len(listed))
    bars = axes.barh(places, [share for _, share in listed], height=0.62, color=STATUSES["finished"].colour)
    axes.bar_label(bars, labels=[f"{share:.0%}" for _, share in listed], padding=4, color=_SOFT)
    axes.set_yticks(places, [shortened(data.shorts[name], 22) for name, _ in listed])
    axes.set_ylim(max(4.5, len(listed) - 0.5), -0.5)
    axes.set_xlim(0, 1.15 * max(share for _, share in listed) or 1)
    axes.xaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
    axes.set_title("Importance (PED-ANOVA)")
    axes.grid(axis="y", visible=False)


def _rungs(axes: Axes, state: SweepState) -> None:
    data = rungs_of(state)
    if not data:
        _empty(axes, "Rungs", "no trials were compared")
        return
    places, offset = np.arange(len(data)), np.zeros(len(data))
    for fate in FATES:
        counts = np.array([rung.fates[fate] for rung in data])
        if counts.any():
            style = STATUSES.get(fate)
            options: dict[str, Any] = {
                "color": style.colour if style else CONTINUED,
                "hatch": style.hatch if style else "",
            }
            axes.barh(
                places,
                counts,
                left=offset,
                height=0.7,
                label=style.words if style else fate,
                edgecolor="white",
                **options,
            )
            offset = offset + counts
    axes.set_yticks(places, [place(rung.at, state.unit) for rung in data])
    axes.invert_yaxis()
    axes.set_title(
        f"{data[-1].reached:,} of {counted(data[0].reached, 'trial')} reached {place(data[-1].at, state.unit)}"
    )
    axes.set_xlabel("trials")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")


def _timeline(axes: Axes, run: RunDirectory, state: SweepState) -> None:
    data = timeline_of(run, state)
    if data is None:
        _empty(axes, "Timeline", "no trial has run yet")
        return
    lanes = data.lanes
    for status, style in STATUSES.items():
        columns = columns_of(data, status, data.unit[0])
        edge: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.6 if len(data.spans) < 300 else 0}
        for row in np.unique(columns.rows):
            in_row = columns.rows == row
            pieces = np.stack([columns.starts[in_row], columns.lengths[in_row]], axis=1)
            axes.broken_barh(pieces.tolist(), (row - 0.4, 0.8), facecolor=style.colour, **edge)
    idle = "" if data.idle is None else f": {data.idle:.0%} idle"
    axes.set_title(f"{counted(len(data.spans), 'segment')} on {counted(len(lanes), 'slot')}{idle}")
    axes.set_xlabel(f"running time ({data.unit[1]})")
    if len(lanes) <= 24:
        axes.set_yticks(list(lanes.values()), [shortened(f"{node} {lane + 1}", 14) for node, lane in lanes])
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
