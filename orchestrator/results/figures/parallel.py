"""Parallel coordinates: a line a trial through all its parameters, coloured by the objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.results.figures.figure import Figure, Frame, finished, frame, inert, plain
from orchestrator.results.figures.slices import by_importance
from orchestrator.results.figures.trial_columns import Axis, Floats, Places, Trials, axes, trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MOST = 1000  # lines of the best, and as many of the rest
_AXES = 12


@dataclass(frozen=True)
class Parallel:
    """The axes drawn, of ``parameters`` that vary, and the places in ``trials`` that are drawn, worst first."""

    trials: Trials
    axes: Sequence[Axis]
    parameters: int
    shown: Places


def parallel_of(state: SweepState, most: int = MOST) -> Parallel | None:
    """None with fewer than two trials with a value, or where no parameter varies."""
    found, varying = trials(state), axes(state)
    if len(found.order) < 2 or not varying:
        return None
    chosen = varying
    if len(varying) > _AXES:
        first = {axis.name for axis in by_importance(state, varying)[:_AXES]}
        chosen = [axis for axis in varying if axis.name in first]
    shown = found.sample(most, most)
    return Parallel(found, chosen, len(varying), shown[np.argsort(-found.losses[shown], kind="stable")])


def parallel(run: RunDirectory, state: SweepState) -> Figure | None:
    """Parallel coordinates; None where nothing can be compared."""
    found = parallel_of(state)
    return draw(found) if found else None


def draw(found: Parallel) -> Figure:
    import plotly.graph_objects as go

    columns = found.trials
    values = columns.values[found.shown]
    shown = frame(columns.values, columns.mode) or Frame(0.0, 1.0, 0)
    low, high = max(shown.low, float(values.min())), min(shown.high, float(values.max()))
    line = {"color": values.astype(np.float32), "coloraxis": "coloraxis"}
    objective: dict[str, Any] = {"label": inert(columns.metric, 24), "values": np.clip(values, low, high)}
    objective["range"] = [low, high] if low < high else [low - 1, high + 1]
    dimensions = [*(_dimension(axis, found.shown) for axis in found.axes), objective]
    plot = go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=-15 if len(dimensions) > 4 else 0))
    plot.update_coloraxes(cmin=low, cmax=high, showscale=False, reversescale=columns.mode == "min")
    figure = finished("parallel", _title(found), _caption(found) + shown.words, plot, 470)
    figure.plot.update_layout(margin={"l": 70, "r": 70, "b": 30, "t": figure.plot.layout.margin.t + 50})
    return figure


def _dimension(axis: Axis, shown: Places) -> dict[str, Any]:
    """With a place of its own, under all others, for trials that do not have the parameter."""
    at, labels = axis.ticks()
    low, high = axis.span
    places: Floats = axis.places[shown]
    if axis.unset:
        below = low - (0.12 * (high - low) or 1.0) if not axis.words else low - 1.0
        places, low = np.where(np.isnan(places), below, places), below
        at, labels = [below, *at], ["not set", *labels]
    label = inert(axis.short + (" (log)" if axis.log else ""), 24)
    ends = [low, high] if low < high else [low - 1, high + 1]
    ticks = {"tickvals": at, "ticktext": [plain(text, 16) for text in labels]}
    return {"label": label, "values": places.astype(np.float32), "range": ends, **ticks}


def _title(found: Parallel) -> str:
    best = int(found.trials.order[0])
    number, value = int(found.trials.numbers[best]), float(found.trials.values[best])
    count = len(found.trials.order)
    return f"{count} trials over {len(found.axes)} parameters; the best is trial {number} with {show(value)}"


def _caption(found: Parallel) -> str:
    count = len(found.trials.order)
    some = f"{len(found.shown)} of {count} trials: the best {MOST}, and an even sample by rank of the rest. "
    fewer = f"The {len(found.axes)} most important of {found.parameters} parameters. "
    unset = "Trials that do not have a parameter lie at 'not set'. " if any(axis.unset for axis in found.axes) else ""
    return (
        f"A line a trial, in the stronger colour the better its {found.trials.metric}; drag along an axis to select. "
        + (some if len(found.shown) < count else "")
        + (fewer if found.parameters > len(found.axes) else "")
        + unset
    ).strip()
