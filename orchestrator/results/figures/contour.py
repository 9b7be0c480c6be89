"""Two parameters together: a smooth surface through the trials' values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.errors import UsageError
from orchestrator.results.figures.figure import BEST, Figure, finished, inert
from orchestrator.results.figures.slices import by_importance
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

LEAST = 10  # trials that have both parameters
MOST = 1000  # of the best, and as many of the rest, go into the surface
CELLS = 36
_DOTS = 30
_NEAR = 1.0  # trials' weights that a cell needs together


@dataclass(frozen=True)
class Contour:
    """``surface``: cells of y x cells of x, the weighted mean of the trials near each; NaN where there are none.

    ``across`` and ``up`` are the places of the cells on the axes, ``width`` the kernel's in shares of a numeric axis.
    ``shown`` are the places in ``trials`` that went into it.
    """

    trials: Trials
    x: Axis
    y: Axis
    across: Floats
    up: Floats
    surface: Floats
    width: float
    shown: Places


def contour_of(state: SweepState, x: str | None = None, y: str | None = None) -> Contour | None:
    """Of the two most important parameters, unless others are named; None where too few trials have both.

    Raises UsageError where a name is not that of a parameter that varies.
    """
    found, ranked = trials(state), by_importance(state, axes(state))
    first, second = _chosen(ranked, x, y)
    if first is None or second is None:
        return None
    both = ~np.isnan(first.places) & ~np.isnan(second.places)
    shown = found.sample(MOST, MOST)
    shown = shown[both[shown]]
    if len(shown) < LEAST:
        return None
    return _smoothed(found, first, second, shown)


def _chosen(ranked: list[Axis], x: str | None, y: str | None) -> tuple[Axis | None, Axis | None]:
    named = [_named(ranked, name) if name is not None else None for name in (x, y)]
    others = iter([axis for axis in ranked if axis not in named])
    first, second = (axis or next(others, None) for axis in named)
    return first, second


def _named(ranked: list[Axis], name: str) -> Axis:
    for axis in ranked:
        if name in (axis.name, axis.short):
            return axis
    known = ", ".join(axis.name for axis in ranked) or "none"
    raise UsageError(f"{name!r} is no parameter that varies here", hint=f"those that do: {known}")


def _smoothed(found: Trials, x: Axis, y: Axis, shown: Places) -> Contour:
    """Nadaraya and Watson's estimate, with a Gaussian kernel on numbers and none across categories.

    Scott's rule in two dimensions for the width: n^(-1/6), of a third of the axis.
    """
    width = float(len(shown) ** (-1 / 6)) / 3
    across, up = _cells(x), _cells(y)
    weights = _weights(y, up, shown, width)[:, None, :] * _weights(x, across, shown, width)[None, :, :]
    total = weights.sum(axis=2)
    values = np.clip(found.values[shown], *np.quantile(found.values[shown], [0.02, 0.98]))
    with np.errstate(invalid="ignore", divide="ignore"):
        surface = np.where(total >= _NEAR, (weights @ values) / total, np.nan)
    return Contour(found, x, y, across, up, surface, width, shown)


def _cells(axis: Axis) -> Floats:
    return np.arange(len(axis.words), dtype=np.float64) if axis.words else np.linspace(*axis.span, CELLS)


def _weights(axis: Axis, cells: Floats, shown: Places, width: float) -> Floats:
    """Cells x trials: 1 at the cell itself, less with the distance."""
    apart = cells[:, None] - axis.places[shown][None, :]
    if axis.words:
        return (np.abs(apart) < 0.5).astype(np.float64)
    low, high = axis.span
    return np.exp(-0.5 * (apart / (width * (high - low))) ** 2)


def contour(run: RunDirectory, state: SweepState, x: str | None = None, y: str | None = None) -> Figure | None:
    """The surface and the best trials; None where fewer than two parameters vary, or too few trials have both."""
    found = contour_of(state, x, y)
    return draw(found) if found else None


def draw(found: Contour) -> Figure:
    import plotly.graph_objects as go

    columns = found.trials
    common: dict[str, Any] = {
        "x": found.across,
        "y": found.up,
        "z": found.surface.astype(np.float32),
        "coloraxis": "coloraxis",
        "hovertemplate": "about %{z:.4g}<extra></extra>",
    }
    flat = found.x.words or found.y.words
    surface = go.Heatmap(**common) if flat else go.Contour(**common, line_width=0.5, ncontours=12)
    plot = go.Figure(surface)
    best = columns.order[np.isin(columns.order, found.shown)][:_DOTS]
    for places, marker in (
        (best[1:], {"color": "#ffffff", "size": 6, "line": {"color": "#1d2129", "width": 1}}),
        (
            best[:1],
            {"color": BEST, "size": 14, "symbol": "star", "line": {"color": "#fff", "width": 1}},
        ),
    ):
        plot.add_scatter(
            x=found.x.places[places],
            y=found.y.places[places],
            customdata=np.stack([columns.numbers[places], columns.values[places]], axis=1),
            mode="markers",
            marker=marker,
            showlegend=False,
            hovertemplate="trial %{customdata[0]:d}: %{customdata[1]:.4g}<extra></extra>",
        )
    for axis, update in ((found.x, plot.update_xaxes), (found.y, plot.update_yaxes)):
        at, labels = axis.ticks()
        label = inert(axis.short + (" (log)" if axis.log else ""), 32)
        update(title_text=label, tickvals=at, ticktext=[inert(text, 16) for text in labels], showgrid=False)
    title = {"text": inert(columns.metric, 20), "side": "right"}
    plot.update_coloraxes(reversescale=columns.mode == "min", colorbar_title=title)
    return finished("contour", _title(found), _caption(found, len(best)), plot, 460)


def _title(found: Contour) -> str:
    return f"{found.trials.metric} over {found.x.short} and {found.y.short}"


def _caption(found: Contour, best: int) -> str:
    some = "" if len(found.shown) == len(found.trials.order) else f" ({len(found.shown)} of {len(found.trials.order)})"
    return (
        f"A smooth mean of the trials near each point{some}: Gaussian kernel, {found.width:.0%} of an axis wide, blank "
        f"where too few are near; the {best} best trials as dots, the best one as a star. A mean over trials that "
        "differ in other parameters too, so single trials may lie well off it."
    )
