"""Slices figure: the objective against each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.progress import counted
from orchestrator.results.figures.figure import BEST, STATUSES, Figure, axis_limits, escaped, make_figure
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, equal_trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MAX_POINTS = 300  # a panel, of the best, and as many of the rest
PANELS = 12


@dataclass(frozen=True)
class Slices:
    """The axes drawn, most important first, of ``parameters`` that vary; ``shown`` are indices in ``trials``."""

    trials: Trials
    axes: Sequence[Axis]
    parameters: int
    shown: Places


def slices_of(state: SweepState) -> Slices | None:
    """Choose axes and trials; None with fewer than two valued trials, or if no parameter varies."""
    columns, varying = equal_trials(state), axes(state)
    if len(columns.order) < 2 or not varying:
        return None
    return Slices(columns, by_importance(state, varying)[:PANELS], len(varying), columns.sample(MAX_POINTS, MAX_POINTS))


def by_importance(state: SweepState, varying: Sequence[Axis]) -> list[Axis]:
    """Return the axes, most important first; unchanged if importance is unknown."""
    ranked = importance_of(state)
    order = {name: place for place, name in enumerate(ranked.shares)} if ranked else {}
    return sorted(varying, key=lambda axis: order.get(axis.name, 0))


def slices(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw a panel a parameter; None if nothing can be compared."""
    data = slices_of(state)
    return draw(data) if data else None


def draw(data: Slices) -> Figure:
    """Draw chosen axes and trials."""
    from plotly.subplots import make_subplots

    count, columns = len(data.axes), min(2, len(data.axes))
    rows = math.ceil(count / columns)
    plot = make_subplots(rows=rows, cols=columns, shared_yaxes=True, vertical_spacing=min(0.3, 90 / (240 * rows)),
                         horizontal_spacing=0.05)  # fmt: skip
    limits = axis_limits(data.trials.values, data.trials.mode)
    for index, axis in enumerate(data.axes):
        cell = {"row": index // columns + 1, "col": index % columns + 1}
        _panel(plot, data, axis, cell)
        if limits:
            plot.update_yaxes(**limits.scale, **cell)
    for row in range(rows):
        plot.update_yaxes(title_text=escaped(data.trials.metric, 28), row=row + 1, col=1)
    plot.update_layout(showlegend=False)
    return make_figure("slices", _title(data), _caption(data) + (limits.note if limits else ""), plot, 90 + 240 * rows)


def _panel(plot: Any, data: Slices, axis: Axis, cell: dict[str, int]) -> None:
    best = int(data.trials.order[0])
    at, labels = axis.ticks(5)
    positions = jittered_positions(axis, data.trials)
    if axis.unset:
        low, high = axis.span
        at, labels = [unset_place(low, high, bool(axis.words)), *at], ["not set", *labels]
    few = len(data.shown) <= 100
    others, dot = data.shown[data.shown != best], {"size": 6, "opacity": 0.75 if few else 0.4}
    early = data.trials.early[others] if data.trials.early is not None else np.zeros(len(others), dtype=np.bool_)
    for places, marker in (
        (others[early], {"color": STATUSES["set_aside"].colour, "symbol": "circle-open", **dot}),
        (others[~early], {"color": STATUSES["finished"].colour, **dot}),
        (np.array([best]), {"color": BEST, "size": 12, "symbol": "star"}),
    ):
        plot.add_scatter(
            x=positions[places].astype(np.float32),
            y=data.trials.values[places].astype(np.float32),
            customdata=data.trials.numbers[places],
            mode="markers",
            marker=marker,
            hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
            **cell,
        )
    label = escaped(axis.short + (" (log)" if axis.log else ""), 32)
    plot.update_xaxes(title_text=label, tickvals=at, ticktext=[escaped(text, 14) for text in labels], **cell)


def unset_place(low: float, high: float, words: bool) -> float:
    """Return the position of trials without the parameter, left of all others."""
    return low - 1.0 if words else low - (0.12 * (high - low) or 1.0)


def jittered_positions(axis: Axis, columns: Trials) -> Floats:
    """Return positions on the axis; those in a category are spread by trial number, not at random."""
    low, high = axis.span
    places = np.where(np.isnan(axis.places), unset_place(low, high, bool(axis.words)), axis.places)
    if axis.words:
        places = places + 0.25 * ((columns.numbers * 0.6180339887) % 1.0 - 0.5)
    return places


def _title(data: Slices) -> str:
    return f"{data.trials.metric} against {counted(len(data.axes), 'parameter')}"


def _caption(data: Slices) -> str:
    count = len(data.trials.order)
    sampled = f"{len(data.shown)} of {count} trials: the best {MAX_POINTS}, and an even sample by rank of the rest. "
    fewer = f"The {len(data.axes)} most important of {data.parameters} parameters. "
    return (
        "A point a trial, the star is the best there. "
        + (sampled if len(data.shown) < count else "")
        + (fewer if data.parameters > len(data.axes) else "")
        + data.trials.note
    ).strip()
