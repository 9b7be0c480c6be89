"""Learning curves: the objective by epoch, a line a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.results.figures.figure import BEST, MUTED, STATUSES, Figure, finished, frame, inert
from orchestrator.results.figures.trial_columns import Floats, Places, thinned, trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, Trial

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST = 150  # lines of the best, and as many of the rest
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Curve:
    """One trial's finite values of the objective and their epochs."""

    trial: int
    status: str
    epochs: Places
    values: Floats


@dataclass(frozen=True)
class Bands:
    """Quantiles over the trials that reported at an epoch, of how many ``counts`` says. ``values``: epochs x quantiles.

    The trials thin out where some are stopped early, so the bands of later epochs are those of the better ones.
    """

    epochs: Places
    values: Floats
    counts: Places


@dataclass(frozen=True)
class Curves:
    """``shown`` holds the winner's last; ``bands`` are there where ``shown`` are not all of the ``total``."""

    metric: str
    mode: str
    shown: Sequence[Curve]
    total: int
    winner: int | None
    bands: Bands | None

    @property
    def best(self) -> Curve | None:
        """The winner's."""
        return self.shown[-1] if self.winner is not None else None


def curves(state: SweepState, most: int = MOST) -> Curves | None:
    """All curves; of more than twice ``most`` the best, a sample of the rest, and bands. None where there is none."""
    found = trials(state)
    reported = np.flatnonzero(found.epochs > 0)
    rest = np.setdiff1d(reported, found.order)
    chosen = thinned(np.concatenate([found.order, rest]), most, most)
    if not len(chosen):
        return None
    won = state.winner()
    listed = [_curve(state.trials[int(found.numbers[place])], found.metric) for place in chosen]
    listed.sort(key=lambda curve: (won is not None and curve.trial == won.number, curve.trial))
    bands = _bands(state, found.metric) if len(chosen) < len(reported) else None
    return Curves(found.metric, found.mode, listed, len(reported), won.number if won else None, bands)


def _curve(trial: Trial, metric: str) -> Curve:
    every = sorted((epoch, report.metrics.get(metric, math.nan)) for epoch, report in trial.reports.items())
    finite = [(epoch, value) for epoch, value in every if math.isfinite(value)]
    epochs, values = ([point[side] for point in finite] for side in (0, 1))
    return Curve(trial.number, trial.status, np.array(epochs, dtype=np.int64), np.array(values, dtype=np.float64))


def _bands(state: SweepState, metric: str) -> Bands:
    by_epoch: dict[int, list[float]] = {}
    for trial in state.trials.values():
        for epoch, report in trial.reports.items():
            by_epoch.setdefault(epoch, []).append(report.metrics.get(metric, math.nan))
    known = {epoch: np.array(values)[np.isfinite(values)] for epoch, values in sorted(by_epoch.items())}
    known = {epoch: values for epoch, values in known.items() if values.size}
    quantiles = np.array([np.quantile(values, QUANTILES) for values in known.values()]).reshape(len(known), -1)
    counts = np.array([values.size for values in known.values()], dtype=np.int64)
    return Bands(np.array(list(known), dtype=np.int64), quantiles, counts)


def learning_curves(run: RunDirectory, state: SweepState) -> Figure | None:
    """Learning curves with early stops marked and the winner's emphasised; None before the first report."""
    found = curves(state)
    return draw(found) if found else None


def draw(found: Curves) -> Figure:
    import plotly.graph_objects as go

    plot = go.Figure()
    if found.bands:
        _draw_bands(plot, found.bands)
    others = [curve for curve in found.shown if curve is not found.best]
    thin = 0.35 if len(found.shown) > 60 else 0.85
    for status in STATUSES:
        of_it = [curve for curve in others if curve.status == status]
        if of_it:
            plot.add_trace(_lines(of_it, status, thin, found.metric))
            plot.add_trace(_ends(of_it, status, thin))
    if found.best:
        plot.add_trace(_winner(found.best, found))
    # What is framed is what is drawn as a line: the bands of the first epochs would squeeze them.
    shown = frame(np.concatenate([curve.values for curve in found.shown]), found.mode)
    plot.update_xaxes(title_text="epoch", rangemode="tozero", tickformat="d")
    plot.update_yaxes(title_text=inert(found.metric), range=[shown.low, shown.high] if shown else None)
    return finished("learning_curves", _title(found), _caption(found) + (shown.words if shown else ""), plot, 460)


def _joined(curves: Iterable[Curve]) -> tuple[Floats, Floats, Floats]:
    """Epochs, values and trial numbers of several curves in one line, with a gap after each."""
    gap = np.array([math.nan])
    parts = [(curve.epochs, curve.values, np.full(len(curve.epochs), curve.trial)) for curve in curves]
    columns = [np.concatenate([piece for part in parts for piece in (part[side], gap)]) for side in range(3)]
    return columns[0].astype(np.float32), columns[1].astype(np.float32), columns[2].astype(np.float32)


def _lines(curves: Sequence[Curve], status: str, opacity: float, metric: str) -> go.Scatter:
    import plotly.graph_objects as go

    look = STATUSES[status]
    epochs, values, numbers = _joined(curves)
    return go.Scatter(
        x=epochs,
        y=values,
        customdata=numbers,
        mode="lines",
        line={"color": look.colour, "width": 1.2, "dash": look.dash},
        opacity=opacity,
        name=f"{look.words} ({len(curves)})",
        legendgroup=status,
        hovertemplate=f"trial %{{customdata}}, epoch %{{x}}: %{{y:.4g}}<extra>{look.words}</extra>",
    )


def _ends(curves: Sequence[Curve], status: str, opacity: float) -> go.Scatter:
    """A mark where each ends."""
    import plotly.graph_objects as go

    look = STATUSES[status]
    last = [(curve.epochs[-1], curve.values[-1]) for curve in curves if len(curve.epochs)]
    marker: dict[str, Any] = {"color": look.colour, "symbol": look.symbol, "size": 6}
    return go.Scatter(
        x=np.array([epoch for epoch, _ in last], dtype=np.float32),
        y=np.array([value for _, value in last], dtype=np.float32),
        mode="markers",
        marker=marker | {"line": {"color": look.colour, "width": 1.2}},
        opacity=min(1.0, opacity + 0.2),
        legendgroup=status,
        showlegend=False,
        hoverinfo="skip",
    )


def _winner(best: Curve, found: Curves) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=best.epochs,
        y=best.values,
        mode="lines+markers",
        line={"color": BEST, "width": 3},
        marker={"size": 5, "color": BEST},
        name=f"best: trial {found.winner}",
        hovertemplate=f"trial {found.winner}, epoch %{{x}}: %{{y:.4g}}<extra>best</extra>",
    )


def _draw_bands(plot: go.Figure, bands: Bands) -> None:
    """The middle 80 % and 50 % of all trials, and their median."""
    for low, high, words in ((0, 4, "middle 80 % of all"), (1, 3, "middle 50 % of all")):
        around = {"x": bands.epochs, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        plot.add_scatter(**around, y=bands.values[:, high], showlegend=False)
        plot.add_scatter(**around, y=bands.values[:, low], fill="tonexty", fillcolor=_veil(), name=words)
    plot.add_scatter(
        x=bands.epochs,
        y=bands.values[:, 2],
        customdata=bands.counts,
        mode="lines",
        line={"color": MUTED, "width": 2, "dash": "dash"},
        name="median of all",
        hovertemplate="epoch %{x}: median %{y:.4g} of %{customdata} trials<extra></extra>",
    )


def _veil() -> str:
    red, green, blue = (int(MUTED[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _title(found: Curves) -> str:
    if not found.best or not len(found.best.values):
        return f"{found.metric} by epoch: no trial has a finite value yet"
    values = found.best.values
    at = int(np.argmax(values) if found.mode == "max" else np.argmin(values))
    return (
        f"{found.metric} came to {show(float(values[at]))} in trial {found.winner}, epoch {int(found.best.epochs[at])}"
    )


def _caption(found: Curves) -> str:
    marks = "One line a trial, marked where it ends; the line and the mark tell how."
    if not found.bands:
        return f"{found.metric} by epoch for all {found.total} trials that reported. {marks}"
    shown = len(found.shown)
    return (
        f"{found.metric} by epoch. Lines: {shown} of {found.total} trials, the best {MOST} and an even sample by rank "
        f"of the rest. {marks} Bands: all {found.total} trials, of each epoch those that reported it; where trials are "
        "stopped early the later epochs are those of the better ones."
    )
