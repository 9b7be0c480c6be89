"""What each trial came to, in the order in which they were suggested, and the best so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.results.figures.figure import BEST, STATUSES, Figure, finished, frame, inert
from orchestrator.results.figures.trial_columns import Floats, Places, Trials, trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

MOST = 1000  # points of the best, and as many of the rest


@dataclass(frozen=True)
class History:
    """``steps`` are the trials that were better than all before them, ``records`` their values; ``shown`` places."""

    trials: Trials
    steps: Places
    records: Floats
    shown: Places


def history_of(state: SweepState, most: int = MOST) -> History | None:
    """None where no trial has a value."""
    found = trials(state)
    known = np.flatnonzero(np.isfinite(found.values))
    if not len(known):
        return None
    losses = found.losses[known]
    before = np.concatenate([[np.inf], np.minimum.accumulate(losses)[:-1]])
    better = known[losses < before]
    return History(found, found.numbers[better], found.values[better], found.sample(most, most))


def history(run: RunDirectory, state: SweepState) -> Figure | None:
    """Each trial's value as a mark, the best so far as a line; None where there is no value yet."""
    found = history_of(state)
    return draw(found) if found else None


def draw(found: History) -> Figure:
    import plotly.graph_objects as go

    plot, columns = go.Figure(), found.trials
    for status, look in STATUSES.items():
        places = found.shown[columns.statuses[found.shown] == status]
        if len(places):
            plot.add_scatter(
                x=columns.numbers[places],
                y=columns.values[places].astype(np.float32),
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 6, "line_color": look.colour}
                | {"line_width": 1.2 if look.symbol.endswith(("thin", "open")) else 0},
                opacity=0.45 if len(found.shown) > 300 else 0.85,
                name=look.words,
                hovertemplate=f"trial %{{x}}: %{{y:.4g}}<extra>{look.words}</extra>",
            )
    last = columns.numbers[-1:]
    plot.add_scatter(
        x=np.concatenate([found.steps, last]),
        y=np.concatenate([found.records, found.records[-1:]]),
        mode="lines",
        line={"color": BEST, "width": 2.5, "shape": "hv"},
        name="best so far",
        hovertemplate="from trial %{x} on: %{y:.4g}<extra>best so far</extra>",
    )
    shown = frame(columns.values, columns.mode)
    plot.update_xaxes(title_text="trial, in the order suggested", tickformat="d")
    plot.update_yaxes(title_text=inert(columns.metric), range=[shown.low, shown.high] if shown else None)
    return finished("history", _title(found), _caption(found) + (shown.words if shown else ""), plot)


def _title(found: History) -> str:
    first, best, at = found.records[0], found.records[-1], int(found.steps[-1])
    after = len(found.trials) - 1 - int(np.searchsorted(found.trials.numbers, at))
    since = f"the {after} trials after it brought nothing better" if after > 1 else "which is among the last"
    if len(found.steps) == 1:
        return f"The first trial with a value, {at}, was the best: {show(float(best))}"
    return f"From {show(float(first))} to {show(float(best))} in trial {at}; {since}"


def _caption(found: History) -> str:
    valued = int(np.isfinite(found.trials.values).sum())
    without = len(found.trials) - valued
    some = f"{len(found.shown)} of {valued} trials are marked, the best {MOST} and an even sample by rank of the rest; "
    return (
        f"{found.trials.metric} at each trial's best epoch. "
        + (some + "the line counts all. " if len(found.shown) < valued else "")
        + (f"{without} trials without a value are left out." if without else "")
    ).strip()
