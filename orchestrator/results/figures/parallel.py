"""Parallel coordinates figure: a line a trial through all its parameters, coloured by the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.progress import counted
from orchestrator.results.figures.figure import AxisLimits, Figure, axis_limits, escaped, make_figure, shortened
from orchestrator.results.figures.slices import by_importance
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, decades, equal_trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MAX_LINES = 1000  # of the best, and as many of the rest
_MAX_AXES = 12


@dataclass(frozen=True)
class Parallel:
    """The axes drawn, of ``parameters`` that vary, and the indices of the trials drawn, worst first."""

    trials: Trials
    axes: Sequence[Axis]
    parameters: int
    shown: Places


def parallel_of(state: SweepState) -> Parallel | None:
    """Choose axes and trials; None with fewer than two valued trials, or if no parameter varies."""
    columns, varying = equal_trials(state), axes(state)
    if len(columns.order) < 2 or not varying:
        return None
    chosen = varying
    if len(varying) > _MAX_AXES:
        most_important = {axis.name for axis in by_importance(state, varying)[:_MAX_AXES]}
        chosen = [axis for axis in varying if axis.name in most_important]
    shown = columns.sample(MAX_LINES, MAX_LINES)
    return Parallel(columns, chosen, len(varying), shown[np.argsort(-columns.losses[shown], kind="stable")])


def parallel(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw parallel coordinates; None if nothing can be compared."""
    data = parallel_of(state)
    return draw(data) if data else None


def draw(data: Parallel) -> Figure:
    """Draw chosen axes and trials."""
    import plotly.graph_objects as go

    columns = data.trials
    values = columns.values[data.shown]
    limits = axis_limits(columns.values, columns.mode) or AxisLimits(0.0, 1.0, 0)
    low, high = max(limits.low, float(values.min())), min(limits.high, float(values.max()))
    values = np.clip(values, low, high)
    label, objective = columns.metric, dict[str, Any]()
    if limits.log:
        values, low, high, label = np.log10(values), math.log10(low), math.log10(high), f"{columns.metric} (log)"
        at = decades(low, high, 6)
        objective |= {"tickvals": at, "ticktext": [f"{10**place:.3g}" for place in at]}
    line = {"color": values.astype(np.float32), "coloraxis": "coloraxis"}
    objective |= {"label": escaped(label, 24), "values": values}
    objective["range"] = [low, high] if low < high else [low - 1, high + 1]
    dimensions = [*(_dimension(axis, data.shown) for axis in data.axes), objective]
    plot = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=-15 if len(dimensions) > 4 else 0))
    plot.update_coloraxes(cmin=low, cmax=high, showscale=False, reversescale=columns.mode == "min")
    figure = make_figure("parallel", _title(data), _caption(data) + limits.note, plot, 470)
    figure.plot.update_layout(margin={"l": 70, "r": 70, "b": 30, "t": figure.plot.layout.margin.t + 50})
    return figure


def _dimension(axis: Axis, shown: Places) -> dict[str, Any]:
    """Return plotly's dimension; trials without the parameter get a position of their own below all others."""
    at, labels = axis.ticks()
    low, high = axis.span
    places: Floats = axis.places[shown]
    if axis.unset:
        below = low - (0.12 * (high - low) or 1.0) if not axis.words else low - 1.0
        places, low = np.where(np.isnan(places), below, places), below
        at, labels = [below, *at], ["not set", *labels]
    label = escaped(axis.short + (" (log)" if axis.log else ""), 24)
    ends = [low, high] if low < high else [low - 1, high + 1]
    ticks = {"tickvals": at, "ticktext": [shortened(text, 16) for text in labels]}
    return {"label": label, "values": places.astype(np.float32), "range": ends, **ticks}


def _title(data: Parallel) -> str:
    best = int(data.trials.order[0])
    number, value = int(data.trials.numbers[best]), float(data.trials.values[best])
    count = len(data.trials.order)
    over = f"{counted(count, 'trial')} over {counted(len(data.axes), 'parameter')}"
    return f"{over}; {data.trials.where} the best is trial {number} with {show(value)}"


def _caption(data: Parallel) -> str:
    count = len(data.trials.order)
    sampled = f"{len(data.shown)} of {count} trials: the best {MAX_LINES}, and an even sample by rank of the rest. "
    fewer = f"The {len(data.axes)} most important of {data.parameters} parameters. "
    unset = "Trials without a parameter are at 'not set'. " if any(axis.unset for axis in data.axes) else ""
    return (
        f"A line a trial; the better its {data.trials.metric}, the stronger its colour. Drag along an axis to select. "
        + (sampled if len(data.shown) < count else "")
        + (fewer if data.parameters > len(data.axes) else "")
        + unset
        + data.trials.note
    ).strip()
