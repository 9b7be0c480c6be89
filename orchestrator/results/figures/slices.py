"""Slices: the objective against each parameter by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.results.figures.figure import BEST, STATUSES, Figure, finished, frame, inert
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, trials
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MOST = 300  # points of the best, and as many of the rest, in each
PANELS = 12


@dataclass(frozen=True)
class Slices:
    """The axes drawn, the most important first, of ``parameters`` that vary; ``shown`` are places in ``trials``."""

    trials: Trials
    axes: Sequence[Axis]
    parameters: int
    shown: Places


def slices_of(state: SweepState, most: int = MOST) -> Slices | None:
    """None with fewer than two trials with a value, or where no parameter varies."""
    found, varying = trials(state), axes(state)
    if len(found.order) < 2 or not varying:
        return None
    return Slices(found, by_importance(state, varying)[:PANELS], len(varying), found.sample(most, most))


def by_importance(state: SweepState, varying: Sequence[Axis]) -> list[Axis]:
    """The most important first; as they were where that cannot be said."""
    ranked = importance_of(state)
    order = {name: place for place, name in enumerate(ranked.shares)} if ranked else {}
    return sorted(varying, key=lambda axis: order.get(axis.name, 0))


def slices(run: RunDirectory, state: SweepState) -> Figure | None:
    """Small multiples, a panel a parameter; None where nothing can be compared."""
    found = slices_of(state)
    return draw(found) if found else None


def draw(found: Slices) -> Figure:
    from plotly.subplots import make_subplots

    count, columns = len(found.axes), min(2, len(found.axes))
    rows = math.ceil(count / columns)
    plot = make_subplots(rows=rows, cols=columns, shared_yaxes=True, vertical_spacing=min(0.3, 90 / (240 * rows)),
                         horizontal_spacing=0.05)  # fmt: skip
    shown = frame(found.trials.values, found.trials.mode)
    for index, axis in enumerate(found.axes):
        where = {"row": index // columns + 1, "col": index % columns + 1}
        _panel(plot, found, axis, where)
        if shown:
            plot.update_yaxes(range=[shown.low, shown.high], **where)
    for row in range(rows):
        plot.update_yaxes(title_text=inert(found.trials.metric, 28), row=row + 1, col=1)
    plot.update_layout(showlegend=False)
    return finished("slices", _title(found), _caption(found) + (shown.words if shown else ""), plot, 90 + 240 * rows)


def _panel(plot: Any, found: Slices, axis: Axis, where: dict[str, int]) -> None:
    best = int(found.trials.order[0])
    at, labels = axis.ticks(5)
    positions = spread(axis, found.trials)
    if axis.unset:
        low, high = axis.span
        at, labels = [unset_place(low, high, bool(axis.words)), *at], ["not set", *labels]
    few = len(found.shown) <= 100
    for places, marker in (
        (
            found.shown[found.shown != best],
            {"color": STATUSES["finished"].colour, "size": 6, "opacity": 0.75 if few else 0.4},
        ),
        (np.array([best]), {"color": BEST, "size": 12, "symbol": "star"}),
    ):
        plot.add_scatter(
            x=positions[places].astype(np.float32),
            y=found.trials.values[places].astype(np.float32),
            customdata=found.trials.numbers[places],
            mode="markers",
            marker=marker,
            hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
            **where,
        )
    label = inert(axis.short + (" (log)" if axis.log else ""), 32)
    plot.update_xaxes(title_text=label, tickvals=at, ticktext=[inert(text, 14) for text in labels], **where)


def unset_place(low: float, high: float, words: bool) -> float:
    """Where trials lie that do not have the parameter: left of all others."""
    return low - 1.0 if words else low - (0.12 * (high - low) or 1.0)


def spread(axis: Axis, found: Trials) -> Floats:
    """Where trials lie on the axis; those of a category beside each other, by their number and not by chance."""
    low, high = axis.span
    places = np.where(np.isnan(axis.places), unset_place(low, high, bool(axis.words)), axis.places)
    if axis.words:
        places = places + 0.25 * ((found.numbers * 0.6180339887) % 1.0 - 0.5)
    return places


def _title(found: Slices) -> str:
    return f"{found.trials.metric} against {len(found.axes)} parameter{'s' if len(found.axes) > 1 else ''}"


def _caption(found: Slices) -> str:
    count = len(found.trials.order)
    some = f"{len(found.shown)} of {count} trials: the best {MOST}, and an even sample by rank of the rest. "
    fewer = f"The {len(found.axes)} most important of {found.parameters} parameters. "
    return (
        "A point a trial, the star is the best. "
        + (some if len(found.shown) < count else "")
        + (fewer if found.parameters > len(found.axes) else "")
    ).strip()
