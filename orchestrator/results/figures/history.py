"""History figure: the value of each trial in the order suggested, and the best so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.progress import counted
from orchestrator.results.figures.figure import BEST, STATUSES, Figure, axis_limits, escaped, make_figure
from orchestrator.results.figures.trial_columns import Floats, Places, Trials, trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MAX_POINTS = 1000  # of the best, and as many of the rest


@dataclass(frozen=True)
class History:
    """Trials that beat all before them (``steps``), their values (``records``), and the indices drawn (``shown``)."""

    trials: Trials
    steps: Places
    records: Floats
    shown: Places


def history_of(state: SweepState) -> History | None:
    """Compute the history; None if no trial has a value."""
    columns = trials(state)
    valued = np.flatnonzero(np.isfinite(columns.values))
    if not len(valued):
        return None
    losses = columns.losses[valued]
    earlier_best = np.concatenate([[np.inf], np.minimum.accumulate(losses)[:-1]])
    better = valued[losses < earlier_best]
    return History(columns, columns.numbers[better], columns.values[better], columns.sample(MAX_POINTS, MAX_POINTS))


def history(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw each trial's value as a mark and the best so far as a line; None if there is no value yet."""
    data = history_of(state)
    return draw(data) if data else None


def draw(data: History) -> Figure:
    """Draw a computed history."""
    import plotly.graph_objects as go

    plot, columns = go.Figure(), data.trials
    for status, style in STATUSES.items():
        places = data.shown[columns.statuses[data.shown] == status]
        if len(places):
            plot.add_scatter(
                x=columns.numbers[places],
                y=columns.values[places].astype(np.float32),
                mode="markers",
                marker={
                    "color": style.colour,
                    "symbol": style.symbol,
                    "size": 6,
                    "line_color": style.colour,
                }
                | {"line_width": 1.2 if style.symbol.endswith(("thin", "open")) else 0},
                opacity=0.45 if len(data.shown) > 300 else 0.85,
                name=style.words,
                hovertemplate=f"trial %{{x}}: %{{y:.4g}}<extra>{style.words}</extra>",
            )
    last = columns.numbers[-1:]
    plot.add_scatter(
        x=np.concatenate([data.steps, last]),
        y=np.concatenate([data.records, data.records[-1:]]),
        mode="lines",
        line={"color": BEST, "width": 2.5, "shape": "hv"},
        name="best so far",
        hovertemplate="from trial %{x} on: %{y:.4g}<extra>best so far</extra>",
    )
    limits = axis_limits(columns.values, columns.mode)
    plot.update_xaxes(title_text="trial, in the order suggested", tickformat="d")
    plot.update_yaxes(title_text=escaped(columns.metric), **(limits.scale if limits else {}))
    return make_figure("history", _title(data), _caption(data) + (limits.note if limits else ""), plot)


def _title(data: History) -> str:
    first, best, at = data.records[0], data.records[-1], int(data.steps[-1])
    after = len(data.trials) - 1 - int(np.searchsorted(data.trials.numbers, at))
    since = f"the {after} later trials were not better" if after > 1 else "it is one of the last two trials"
    if len(data.steps) == 1:
        return f"The first trial with a value, {at}, was the best: {show(float(best))}"
    return f"From {show(float(first))} to {show(float(best))} in trial {at}; {since}"


def _caption(data: History) -> str:
    valued = int(np.isfinite(data.trials.values).sum())
    missing = len(data.trials) - valued
    are = "is" if missing == 1 else "are"
    sampled = (
        f"{len(data.shown)} of {valued} trials are marked, the best {MAX_POINTS} and an even sample by rank of the "
        "rest; the line covers all. "
    )
    return (
        f"{data.trials.metric} at each trial's best report. "
        + (sampled if len(data.shown) < valued else "")
        + (f"Not drawn: {counted(missing, 'trial')} that failed or {are} without a value." if missing else "")
    ).strip()
