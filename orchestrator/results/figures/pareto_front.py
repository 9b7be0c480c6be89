"""Pareto front figure: the trials in several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.progress import counted
from orchestrator.results.figures.figure import BEST, MUTED, Figure, axis_limits, escaped, make_figure
from orchestrator.results.figures.trial_columns import Floats, Places, thinned
from orchestrator.rundir import RunDirectory
from orchestrator.state import Goal, SweepState

MAX_DOMINATED = 1000


@dataclass(frozen=True)
class Front:
    """``values`` are trials x objectives, in the metrics' own directions; ``on`` holds the front's trial numbers."""

    goals: Sequence[Goal]
    numbers: Places
    values: Floats
    on: Sequence[int]


def front_of(state: SweepState) -> Front | None:
    """Compute the front; None with one objective, or if no trial has a value in all."""
    objective = state.objective
    points = state.points() if objective.also else {}
    if not points:
        return None
    goals = (Goal(objective.metric, objective.mode), *objective.also)
    signs = np.array([goal.loss(1.0) for goal in goals])
    return Front(goals, np.array(list(points)), np.array(list(points.values())) * signs, state.front())


def front(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw the first objective against each other one; None with one objective."""
    data = front_of(state)
    return draw(data) if data else None


def draw(data: Front) -> Figure:
    """Draw a computed front."""
    from plotly.subplots import make_subplots

    goals = data.goals[1:]
    plot = make_subplots(rows=len(goals), cols=1, vertical_spacing=0.16 / len(goals))
    row_of = {int(number): row for row, number in enumerate(data.numbers)}
    on = np.array([row_of[number] for number in data.on])
    off = np.setdiff1d(np.arange(len(data.numbers)), on)
    shown = thinned(off, 0, MAX_DOMINATED)
    for row, goal in enumerate(goals, 1):
        for places, style in ((shown, _off()), (on, _on(len(goals) == 1))):
            plot.add_scatter(
                x=data.values[places, 0],
                y=data.values[places, row],
                customdata=data.numbers[places],
                hovertemplate="trial %{customdata}: %{x:.4g}, %{y:.4g}<extra></extra>",
                showlegend=row == 1,
                row=row,
                col=1,
                **style,
            )
        _set_limits(plot, data, row)
        plot.update_yaxes(title_text=escaped(f"{goal.metric} ({_better(goal)})"), row=row, col=1)
    plot.update_xaxes(title_text=escaped(f"{data.goals[0].metric} ({_better(data.goals[0])})"), row=len(goals), col=1)
    are, them = ("is", "it") if len(on) == 1 else ("are", "them")
    trials = counted(len(data.numbers), "trial")
    title = f"{len(on)} of {trials} {are} on the Pareto front: no trial dominates {them}"
    sampled = f" Of the dominated trials an even sample of {len(shown)} is drawn." if len(shown) < len(off) else ""
    caption = "Each trial at the best report of the first objective; stars are on the front."
    return make_figure("front", title, caption + sampled, plot, 160 + 260 * len(goals))


def _better(goal: Goal) -> str:
    return "higher is better" if goal.mode == "max" else "lower is better"


def _off() -> dict[str, object]:
    return {"mode": "markers", "name": "dominated", "marker": {"color": MUTED, "size": 6, "opacity": 0.6}}


def _on(joined: bool) -> dict[str, object]:
    line = {"color": BEST, "width": 1.5, "dash": "dot"}
    marker = {"color": BEST, "size": 10, "symbol": "star"}
    return {"mode": "lines+markers" if joined else "markers", "name": "on the front", "marker": marker, "line": line}


def _set_limits(plot: object, data: Front, row: int) -> None:
    for column, update in ((0, "update_xaxes"), (row, "update_yaxes")):
        limits = axis_limits(data.values[:, column], data.goals[column].mode)
        if limits:
            getattr(plot, update)(**limits.scale, row=row, col=1)
