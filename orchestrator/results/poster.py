"""A sweep on one static sheet, PNG or SVG: for slides, chats and papers. 1600 x 1000 px as PNG."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.results.figures.curves import Curve, curves
from orchestrator.results.figures.figure import BEST, MUTED, STATUSES, WENT_ON, frame, plain
from orchestrator.results.figures.history import history_of
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.rungs import FATES, rungs_of
from orchestrator.results.figures.timeline import columns_of, timeline_of
from orchestrator.results.verdict import verdict
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import redact
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
    """Write the sheet to ``path``, whose suffix names the format. Raises UsageError for any but .png and .svg."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"a sheet is PNG or SVG, not {path.suffix or 'without a suffix'!r}", hint="e.g. sheet.png")
    with _styled():
        content = _drawn(run, state, suffix[1:])
    write_durably(path, content)


@contextmanager
def _styled() -> Iterator[None]:
    """Our style; and nothing is said of glyphs that the font does not have: they are drawn as boxes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing from.*")
        yield


def _drawn(run: RunDirectory, state: SweepState, form: str) -> bytes:
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(16, 10), dpi=100, facecolor="white")
    FigureCanvasAgg(sheet)
    top = _heading(sheet, run, state)
    grid = sheet.add_gridspec(2, 6, left=0.055, right=0.98, top=top, bottom=0.07, hspace=0.34, wspace=0.9)
    _curves(sheet.add_subplot(grid[0, :4]), state)
    _importance(sheet.add_subplot(grid[0, 4:]), state)
    _history(sheet.add_subplot(grid[1, :2]), state)
    _rungs(sheet.add_subplot(grid[1, 2:4]), state)
    _timeline(sheet.add_subplot(grid[1, 4:]), run, state)
    written = BytesIO()
    metadata = {"Date": None} if form == "svg" else {}
    sheet.savefig(written, format=form, metadata=metadata)
    return written.getvalue()


def _heading(sheet: Any, run: RunDirectory, state: SweepState) -> float:
    """Name and verdict; returns the height left below, as a share of the sheet."""
    sheet.text(0.02, 0.965, plain(run.name, 90), fontsize=19, fontweight="bold", va="top")
    said = [redact(sentence) for sentence in verdict(run, state)]
    lines = [line for sentence in said for line in textwrap.wrap(sentence, 190)][:7]
    for place, line in enumerate(lines):
        weight, colour = ("bold", _INK) if place == 0 else ("normal", _SOFT)
        sheet.text(0.02, 0.92 - 0.022 * place, line, fontsize=10.5, va="top", fontweight=weight, color=colour)
    return 0.92 - 0.022 * len(lines) - 0.055


def _empty(axes: Axes, title: str, why: str) -> None:
    axes.set_title(title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def _curves(axes: Axes, state: SweepState) -> None:
    found = curves(state)
    if found is None:
        _empty(axes, "Learning curves", "no epoch reported yet")
        return
    if found.bands:
        bands = found.bands
        axes.fill_between(bands.epochs, bands.values[:, 0], bands.values[:, 4], color=MUTED, alpha=0.15, lw=0)
        axes.plot(bands.epochs, bands.values[:, 2], color=MUTED, ls="--", lw=1.5, label="median, middle 80 % of all")
    named: set[str] = set()
    for curve in found.shown:
        if curve is found.best:
            axes.plot(
                curve.epochs, curve.values, color=BEST, lw=2.8, marker="o", ms=3, label=f"best: trial {curve.trial}"
            )
        else:
            _curve(axes, curve, len(found.shown) > 60, named)
    shown = frame(np.concatenate([curve.values for curve in found.shown]), found.mode)
    if shown:
        axes.set_ylim(shown.low, shown.high)
    some = f", {len(found.shown)} of {found.total} trials" if len(found.shown) < found.total else ""
    axes.set_title(f"Learning curves{some}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(plain(found.metric, 40))
    axes.legend(loc="best", ncols=2)


def _curve(axes: Axes, curve: Curve, many: bool, named: set[str]) -> None:
    look = STATUSES[curve.status]
    label = None if curve.status in named else look.words
    named.add(curve.status)
    last = [len(curve.epochs) - 1] if len(curve.epochs) else []
    style: dict[str, Any] = {"color": look.colour, "lw": 0.9, "ls": _DASHES[look.dash], "alpha": 0.35 if many else 0.85}
    axes.plot(curve.epochs, curve.values, **style, marker=_MARKS[curve.status], markevery=last, ms=4.5, label=label)


def _history(axes: Axes, state: SweepState) -> None:
    found = history_of(state)
    if found is None:
        _empty(axes, "History", "no trial has a value yet")
        return
    columns = found.trials
    for status, look in STATUSES.items():
        places = found.shown[columns.statuses[found.shown] == status]
        if len(places):
            marks: dict[str, Any] = {
                "s": 14,
                "alpha": 0.5 if len(found.shown) > 300 else 0.9,
                "marker": _MARKS[status],
                "lw": 0.9,
            }
            axes.scatter(columns.numbers[places], columns.values[places], color=look.colour, label=look.words, **marks)
    last = max(int(columns.numbers[-1]), int(found.steps[-1]) + 1)
    steps, records = [*found.steps, last], [*found.records, found.records[-1]]
    axes.step(steps, records, where="post", color=BEST, lw=2.2, label="best so far")
    shown = frame(columns.values, columns.mode)
    if shown:
        axes.set_ylim(shown.low, shown.high)
    axes.set_title("History, and the best so far")
    axes.set_xlabel("trial, in the order suggested")
    axes.set_ylabel(plain(columns.metric, 40))


def _importance(axes: Axes, state: SweepState) -> None:
    found = importance_of(state)
    if found is None:
        _empty(axes, "Importance", "too few trials to tell")
        return
    listed = list(found.shares.items())[:12]
    places = np.arange(len(listed))
    bars = axes.barh(places, [share for _, share in listed], height=0.62, color=STATUSES["finished"].colour)
    axes.bar_label(bars, labels=[f"{share:.0%}" for _, share in listed], padding=4, color=_SOFT)
    axes.set_yticks(places, [plain(found.shorts[name], 22) for name, _ in listed])
    axes.set_ylim(max(4.5, len(listed) - 0.5), -0.5)
    axes.set_xlim(0, 1.15 * max(share for _, share in listed) or 1)
    axes.xaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
    axes.set_title("Importance (PED-ANOVA)")
    axes.grid(axis="y", visible=False)


def _rungs(axes: Axes, state: SweepState) -> None:
    found = rungs_of(state)
    if not found:
        _empty(axes, "Rungs", "no trials were compared on the way")
        return
    places, left = np.arange(len(found)), np.zeros(len(found))
    for fate in FATES:
        counts = np.array([rung.fates[fate] for rung in found])
        if counts.any():
            look = STATUSES.get(fate)
            style: dict[str, Any] = {"color": look.colour if look else WENT_ON, "hatch": look.hatch if look else ""}
            axes.barh(
                places, counts, left=left, height=0.7, label=look.words if look else fate, edgecolor="white", **style
            )
            left = left + counts
    axes.set_yticks(places, [f"epoch {rung.epoch}" for rung in found])
    axes.invert_yaxis()
    axes.set_title(f"{found[-1].reached} of {found[0].reached} trials came to epoch {found[-1].epoch}")
    axes.set_xlabel("trials")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")


def _timeline(axes: Axes, run: RunDirectory, state: SweepState) -> None:
    found = timeline_of(run, state)
    if found is None:
        _empty(axes, "Timeline", "nothing has run yet")
        return
    lanes = found.lanes
    for status, look in STATUSES.items():
        columns = columns_of(found, status, found.unit[0])
        edge: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.6 if len(found.spans) < 300 else 0}
        for row in np.unique(columns.rows):
            there = columns.rows == row
            pieces = np.stack([columns.starts[there], columns.lengths[there]], axis=1)
            axes.broken_barh(pieces.tolist(), (row - 0.4, 0.8), facecolor=look.colour, **edge)
    idle = "" if found.idle is None else f": {found.idle:.0%} idle"
    axes.set_title(f"{len(found.spans)} segments on {len(lanes)} slots{idle}")
    axes.set_xlabel(f"time at work ({found.unit[1]})")
    if len(lanes) <= 24:
        axes.set_yticks(list(lanes.values()), [plain(f"{node} {lane + 1}", 14) for node, lane in lanes])
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
