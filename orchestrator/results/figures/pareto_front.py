"""Where trials stand in several objectives, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.results.figures.figure import BEST, MUTED, Figure, finished, frame, inert
from orchestrator.results.figures.trial_columns import Floats, Places, thinned
from orchestrator.rundir import RunDirectory
from orchestrator.state import Goal, SweepState

MOST = 1000


@dataclass(frozen=True)
class Front:
    """``values``: trials x objectives, in the metrics' own directions. ``on``: the front, by the first objective."""

    goals: Sequence[Goal]
    numbers: Places
    values: Floats
    on: Sequence[int]


def front_of(state: SweepState) -> Front | None:
    """None where there is one objective, or no trial has a value in all."""
    objective = state.objective
    points = state.points() if objective.also else {}
    if not points:
        return None
    goals = (Goal(objective.metric, objective.mode), *objective.also)
    signs = np.array([goal.loss(1.0) for goal in goals])
    return Front(goals, np.array(list(points)), np.array(list(points.values())) * signs, state.front())


def front(run: RunDirectory, state: SweepState) -> Figure | None:
    """The first objective against each other one; None where there is one alone."""
    found = front_of(state)
    return draw(found) if found else None


def draw(found: Front) -> Figure:
    from plotly.subplots import make_subplots

    others = found.goals[1:]
    plot = make_subplots(rows=len(others), cols=1, vertical_spacing=0.16 / len(others))
    row_of = {int(number): row for row, number in enumerate(found.numbers)}
    on = np.array([row_of[number] for number in found.on])
    off = np.setdiff1d(np.arange(len(found.numbers)), on)
    shown = thinned(off, 0, MOST)
    for row, goal in enumerate(others, 1):
        for places, style in ((shown, _off()), (on, _on(len(others) == 1))):
            plot.add_scatter(
                x=found.values[places, 0],
                y=found.values[places, row],
                customdata=found.numbers[places],
                hovertemplate="trial %{customdata}: %{x:.4g}, %{y:.4g}<extra></extra>",
                showlegend=row == 1,
                row=row,
                col=1,
                **style,
            )
        _frame(plot, found, row)
        plot.update_yaxes(title_text=inert(f"{goal.metric} ({_better(goal)})"), row=row, col=1)
    plot.update_xaxes(title_text=inert(f"{found.goals[0].metric} ({_better(found.goals[0])})"), row=len(others), col=1)
    title = f"{len(on)} of {len(found.numbers)} trials are on the Pareto front: no other is better in all"
    some = f" Of the others an even sample of {len(shown)} is drawn." if len(shown) < len(off) else ""
    caption = "Each trial at the best epoch of the first objective; stars are those that no other trial dominates."
    return finished("front", title, caption + some, plot, 160 + 260 * len(others))


def _better(goal: Goal) -> str:
    return "higher is better" if goal.mode == "max" else "lower is better"


def _off() -> dict[str, object]:
    return {"mode": "markers", "name": "dominated", "marker": {"color": MUTED, "size": 6, "opacity": 0.6}}


def _on(joined: bool) -> dict[str, object]:
    line = {"color": BEST, "width": 1.5, "dash": "dot"}
    marker = {"color": BEST, "size": 10, "symbol": "star"}
    return {"mode": "lines+markers" if joined else "markers", "name": "on the front", "marker": marker, "line": line}


def _frame(plot: object, found: Front, row: int) -> None:
    for column, update in ((0, "update_xaxes"), (row, "update_yaxes")):
        shown = frame(found.values[:, column], found.goals[column].mode)
        if shown:
            getattr(plot, update)(range=[shown.low, shown.high], row=row, col=1)
