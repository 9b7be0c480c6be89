"""Contour figure: a smooth surface of the objective over two parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.errors import UsageError
from orchestrator.progress import counted
from orchestrator.results.figures.figure import BEST, Figure, axis_limits, escaped, make_figure
from orchestrator.results.figures.slices import by_importance
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, decades, equal_trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MIN_TRIALS = 10  # that have both parameters
MAX_TRIALS = 1000  # of the best, and as many of the rest
CELLS = 36
_DOTS = 30
_MIN_WEIGHT = 1.0  # sum of trial weights that a cell needs


@dataclass(frozen=True)
class Contour:
    """The surface as cells of y x cells of x: the weighted mean of the trials near each cell, NaN if there are none.

    ``across`` and ``up`` are the cells' positions on the axes, ``width`` is the kernel's width as a share of a numeric
    axis, and ``shown`` are the indices in ``trials`` that were used. With ``log`` the surface is of decimal logarithms.
    """

    trials: Trials
    x: Axis
    y: Axis
    across: Floats
    up: Floats
    surface: Floats
    width: float
    shown: Places
    log: bool = False


def contour_of(state: SweepState, x: str | None = None, y: str | None = None) -> Contour | None:
    """Compute the surface over two parameters, by default the two most important.

    Returns None if too few trials have both.

    Raises:
        UsageError: If a name is not that of a parameter that varies.
    """
    columns, ranked = equal_trials(state), by_importance(state, axes(state))
    first, second = _chosen(ranked, x, y)
    if first is None or second is None:
        return None
    both = ~np.isnan(first.places) & ~np.isnan(second.places)
    shown = columns.sample(MAX_TRIALS, MAX_TRIALS)
    shown = shown[both[shown]]
    if len(shown) < MIN_TRIALS:
        return None
    return _smoothed(columns, first, second, shown)


def _chosen(ranked: list[Axis], x: str | None, y: str | None) -> tuple[Axis | None, Axis | None]:
    named = [_named(ranked, name) if name is not None else None for name in (x, y)]
    unnamed = iter([axis for axis in ranked if axis not in named])
    first, second = (axis or next(unnamed, None) for axis in named)
    return first, second


def _named(ranked: list[Axis], name: str) -> Axis:
    for axis in ranked:
        if name in (axis.name, axis.short):
            return axis
    names = ", ".join(axis.name for axis in ranked) or "none"
    raise UsageError(f"{name!r} is not a parameter that varies", hint=f"parameters that vary: {names}")


def _smoothed(columns: Trials, x: Axis, y: Axis, shown: Places) -> Contour:
    """Estimate by Nadaraya and Watson's method, with a Gaussian kernel on numbers and none across categories.

    The width follows Scott's rule in two dimensions, n^(-1/6), of a third of the axis.
    """
    width = float(len(shown) ** (-1 / 6)) / 3
    across, up = _cells(x), _cells(y)
    weights = _weights(y, up, shown, width)[:, None, :] * _weights(x, across, shown, width)[None, :, :]
    weight_sums = weights.sum(axis=2)
    limits = axis_limits(columns.values[shown], columns.mode)
    assert limits  # all shown have a value
    values = np.clip(columns.values[shown], limits.low, limits.high)
    if limits.log:
        values = np.log10(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        surface = np.where(weight_sums >= _MIN_WEIGHT, (weights @ values) / weight_sums, np.nan)
    return Contour(columns, x, y, across, up, surface, width, shown, limits.log)


def _cells(axis: Axis) -> Floats:
    return np.arange(len(axis.words), dtype=np.float64) if axis.words else np.linspace(*axis.span, CELLS)


def _weights(axis: Axis, cells: Floats, shown: Places, width: float) -> Floats:
    """Return cells x trials: 1 at the cell itself, less with distance."""
    distances = cells[:, None] - axis.places[shown][None, :]
    if axis.words:
        return (np.abs(distances) < 0.5).astype(np.float64)
    low, high = axis.span
    return np.exp(-0.5 * (distances / (width * (high - low))) ** 2)


def contour(run: RunDirectory, state: SweepState, x: str | None = None, y: str | None = None) -> Figure | None:
    """Draw the surface and the best trials; None if fewer than two parameters vary or too few trials have both."""
    surface = contour_of(state, x, y)
    return draw(surface) if surface else None


def draw(data: Contour) -> Figure:
    """Draw a computed surface."""
    import plotly.graph_objects as go

    columns = data.trials
    means = 10**data.surface if data.log else data.surface
    common: dict[str, Any] = {
        "x": data.across,
        "y": data.up,
        "z": data.surface.astype(np.float32),
        "coloraxis": "coloraxis",
        "text": np.where(np.isnan(means), "", np.char.mod("%.4g", means)),
        "hovertemplate": "about %{text}<extra></extra>",
    }
    flat = data.x.words or data.y.words
    surface = go.Heatmap(**common) if flat else go.Contour(**common, line_width=0.5, ncontours=12)
    plot = go.Figure(surface)
    best = columns.order[np.isin(columns.order, data.shown)][:_DOTS]
    for places, marker in (
        (best[1:], {"color": "#ffffff", "size": 6, "line": {"color": "#1d2129", "width": 1}}),
        (
            best[:1],
            {"color": BEST, "size": 14, "symbol": "star", "line": {"color": "#fff", "width": 1}},
        ),
    ):
        plot.add_scatter(
            x=data.x.places[places],
            y=data.y.places[places],
            customdata=np.stack([columns.numbers[places], columns.values[places]], axis=1),
            mode="markers",
            marker=marker,
            showlegend=False,
            hovertemplate="trial %{customdata[0]:d}: %{customdata[1]:.4g}<extra></extra>",
        )
    for axis, update in ((data.x, plot.update_xaxes), (data.y, plot.update_yaxes)):
        at, labels = axis.ticks()
        label = escaped(axis.short + (" (log)" if axis.log else ""), 32)
        update(title_text=label, tickvals=at, ticktext=[escaped(text, 16) for text in labels], showgrid=False)
    title = {"text": escaped(columns.metric, 20) + (" (log)" if data.log else ""), "side": "right"}
    plot.update_coloraxes(reversescale=columns.mode == "min", colorbar_title=title)
    if data.log:
        low, high = float(np.nanmin(data.surface)), float(np.nanmax(data.surface))
        at = decades(low, high, 6)
        plot.update_coloraxes(colorbar_tickvals=at, colorbar_ticktext=[f"{10**place:.3g}" for place in at])
    return make_figure("contour", _title(data), _caption(data, len(best)), plot, 460)


def _title(data: Contour) -> str:
    return f"{data.trials.metric} over {data.x.short} and {data.y.short}"


def _caption(data: Contour, best: int) -> str:
    sampled = "" if len(data.shown) == len(data.trials.order) else f" ({len(data.shown)} of {len(data.trials.order)})"
    return (
        f"A smooth mean of the trials near each point{sampled}: Gaussian kernel, {data.width:.0%} of an axis wide, "
        f"blank if too few are near. Dots and the star are the best {counted(best, 'trial')}, "
        f"the star is the first. The trials differ in other parameters too, "
        f"so single trials may lie far from the mean. {data.trials.note}"
    )
