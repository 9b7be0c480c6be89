"""Figures of several runs: the best so far by the amount of training, and the winners with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.progress import noun
from orchestrator.results.figures.figure import Figure, axis_limits, escaped, make_figure
from orchestrator.results.run_comparison import ComparedRun, Comparison, ranked_runs
from orchestrator.results.why import show

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Of Okabe and Ito's and Tol's palettes; dashes and symbols tell apart what shares a colour.
_COLOURS = ("#1a82c8", "#b8790b", "#009077", "#b5509c", "#d1372f", "#6f8499", "#7a6bd1", "#5a8f29")
_DASHES = ("solid", "dash", "dot")


def best_by_training(comparison: Comparison) -> Figure | None:
    """Draw the best so far of each run by how much it has trained; None if no run has a value, or units differ."""
    import plotly.graph_objects as go

    shown = [(place, each) for place, each in enumerate(comparison.runs) if each.spent]
    if not shown or comparison.unit is None:
        return None
    plot = go.Figure()
    for place, each in shown:
        plot.add_scatter(
            x=[cost for cost, _ in each.spent],
            y=[value for _, value in each.spent],
            mode="lines",
            line={"color": _colour(place), "dash": _DASHES[place // len(_COLOURS) % 3], "width": 2.2, "shape": "hv"},
            name=escaped(each.name, 40),
            hovertemplate=f"%{{x}}: %{{y:.4g}}<extra>{escaped(each.name, 40)}</extra>",
        )
    if comparison.training:
        plot.add_vline(comparison.training, line={"color": "#80868f", "dash": "dot", "width": 1})
    values = np.array([value for _, each in shown for _, value in each.spent])
    limits = axis_limits(values, comparison.mode)
    plot.update_xaxes(title_text=escaped(f"{noun(comparison.unit)} trained, over all trials"), rangemode="tozero")
    plot.update_yaxes(title_text=escaped(comparison.metric), **(limits.scale if limits else {}))
    caption = (
        f"The best {comparison.metric} so far by the amount of training. The dotted line is at the amount that all "
        "runs have spent. What failures made a trial train again is not counted."
    )
    return make_figure(
        "best_by_training", _lead_at_cost(comparison), caption + (limits.note if limits else ""), plot, 460
    )


def _lead_at_cost(comparison: Comparison) -> str:
    sign = -1.0 if comparison.mode == "max" else 1.0
    valued = [each for each in comparison.runs if each.at_training.value is not None]
    if not valued:
        return "Best so far by training"
    best = min((each.at_training.value or 0.0 for each in valued), key=lambda value: sign * value)
    names = [each.name for each in valued if each.at_training.value == best]
    lead = "leads" if len(names) == 1 else "are equal"
    return f"At equal training {' and '.join(names)} {lead}, with {show(best)}"


def winners(comparison: Comparison) -> Figure | None:
    """Draw each run's winner: its mean and interval if it was trained again, and its value in the search."""
    import plotly.graph_objects as go

    ranked = ranked_runs(comparison)
    if not ranked:
        return None
    order = {each.name: place for place, each in enumerate(comparison.runs)}
    plot = go.Figure()
    labels = [escaped(each.name, 40) for each in ranked]
    plot.add_scatter(
        x=[each.best.value for each in ranked], y=labels, mode="markers", name="best value of the search",
        marker={"symbol": "diamond-open", "size": 10, "color": "#80868f", "line_width": 2},
        hovertemplate="%{y}: %{x:.4g}<extra>in the search</extra>",
    )  # fmt: skip
    _add_intervals(plot, [each for each in ranked if each.interval], order)
    plot.update_yaxes(autorange="reversed", type="category", categoryorder="array", categoryarray=labels)
    plot.update_xaxes(title_text=escaped(comparison.metric))
    unsure = sum(each.interval is None for each in ranked)
    caption = "Squares are means of trainings under several seeds, with their interval. " + (
        f"{unsure} of {len(ranked)} runs have none: their best value alone is drawn, which is optimistic."
        if unsure
        else "Diamonds are the best values of the searches, which are optimistic."
    )
    return make_figure("winners", comparison.verdict()[0], caption, plot, 170 + 46 * len(ranked))


def _add_intervals(plot: go.Figure, ranked: Sequence[ComparedRun], order: dict[str, int]) -> None:
    for each in ranked:
        interval = each.interval
        assert interval
        place = order[each.name]
        plot.add_scatter(
            x=[interval.mean], y=[escaped(each.name, 40)], mode="markers", showlegend=False,
            marker={"symbol": "square", "size": 10, "color": _colour(place)},
            error_x={"array": [interval.high - interval.mean], "arrayminus": [interval.mean - interval.low],
                     "color": _colour(place), "thickness": 2},
            hovertemplate=f"%{{y}}: mean %{{x:.4g}}, {interval.n} {interval.source}<extra></extra>",
        )  # fmt: skip


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


COMPARED = {"winners": winners, "best_by_training": best_by_training}
"""The figures of a comparison, in order."""
