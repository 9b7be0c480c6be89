"""Learning curves figure: the objective by progress, a line a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.progress import EPOCHS, axis, counted, place
from orchestrator.results.figures.figure import BEST, MUTED, STATUSES, Figure, axis_limits, escaped, make_figure
from orchestrator.results.figures.trial_columns import Floats, Places, thinned, trials
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.state import Best, SweepState, Trial

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_LINES = 150  # of the best, and as many of the rest
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Curve:
    """One trial's finite values of the objective and their epochs."""

    trial: int
    status: str
    progress: Floats
    values: Floats


@dataclass(frozen=True)
class Bands:
    """Quantiles over the trials that reported at an epoch; ``values`` is epochs x quantiles, ``counts`` the trials.

    Where trials are stopped early, the bands of later epochs are those of the better trials.
    """

    progress: Floats
    values: Floats
    counts: Places


@dataclass(frozen=True)
class Curves:
    """The curves to draw, the winner's last; ``bands`` are set if ``shown`` are not all of the ``total``.

    ``reached`` is the winner's best report, and ``within`` says of which values, if not of all.
    """

    metric: str
    mode: str
    shown: Sequence[Curve]
    total: int
    winner: int | None
    bands: Bands | None
    unit: str = EPOCHS
    reached: Best | None = None
    within: str = ""

    @property
    def best(self) -> Curve | None:
        """The winner's curve."""
        return self.shown[-1] if self.winner is not None else None


def curves(state: SweepState, most: int = MAX_LINES) -> Curves | None:
    """Return all curves, or None if no trial reported.

    With more than twice ``most`` trials they are the best, an even sample of the rest, and bands over all.
    """
    columns = trials(state)
    reported = np.flatnonzero(columns.progress > 0)
    rest = np.setdiff1d(reported, columns.order)
    chosen = thinned(np.concatenate([columns.order, rest]), most, most)
    if not len(chosen):
        return None
    winner = state.winner()
    listed = [_curve(state.trials[int(columns.numbers[place])], columns.metric) for place in chosen]
    listed.sort(key=lambda curve: (winner is not None and curve.trial == winner.number, curve.trial))
    bands = _bands(state, columns.metric) if len(chosen) < len(reported) else None
    best = state.objective.best(winner) if winner else None
    return Curves(
        columns.metric,
        columns.mode,
        listed,
        len(reported),
        winner.number if winner else None,
        bands,
        state.unit,
        best,
        state.objective.within,
    )


def _curve(trial: Trial, metric: str) -> Curve:
    points = sorted((epoch, report.metrics.get(metric, math.nan)) for epoch, report in trial.reports.items())
    finite = [(epoch, value) for epoch, value in points if math.isfinite(value)]
    epochs, values = ([point[side] for point in finite] for side in (0, 1))
    return Curve(trial.number, trial.status, np.array(epochs, dtype=np.float64), np.array(values, dtype=np.float64))


def _bands(state: SweepState, metric: str) -> Bands:
    by_epoch: dict[float, list[float]] = {}
    for trial in state.trials.values():
        for epoch, report in trial.reports.items():
            by_epoch.setdefault(epoch, []).append(report.metrics.get(metric, math.nan))
    finite = {epoch: np.array(values)[np.isfinite(values)] for epoch, values in sorted(by_epoch.items())}
    finite = {epoch: values for epoch, values in finite.items() if values.size}
    quantiles = np.array([np.quantile(values, QUANTILES) for values in finite.values()]).reshape(len(finite), -1)
    counts = np.array([values.size for values in finite.values()], dtype=np.int64)
    return Bands(np.array(list(finite), dtype=np.float64), quantiles, counts)


def learning_curves(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw learning curves with early stops marked and the winner emphasised; None before the first report."""
    data = curves(state)
    return draw(data) if data else None


def draw(data: Curves) -> Figure:
    """Draw computed curves."""
    import plotly.graph_objects as go

    plot = go.Figure()
    if data.bands:
        _draw_bands(plot, data.bands, escaped(axis(data.unit)))
    rest = [curve for curve in data.shown if curve is not data.best]
    thin = 0.35 if len(data.shown) > 60 else 0.85
    for status in STATUSES:
        matching = [curve for curve in rest if curve.status == status]
        if matching:
            plot.add_trace(_lines(matching, status, thin, escaped(axis(data.unit))))
            plot.add_trace(_ends(matching, status, thin))
    if data.best:
        plot.add_trace(_winner(data.best, data))
    # The limits follow the lines; the bands of the first epochs would squeeze them.
    limits = axis_limits(np.concatenate([curve.values for curve in data.shown]), data.mode)
    whole = data.unit == EPOCHS and all((curve.progress % 1 == 0).all() for curve in data.shown)
    plot.update_xaxes(title_text=escaped(axis(data.unit)), rangemode="tozero", tickformat="d" if whole else "~s")
    plot.update_yaxes(title_text=escaped(data.metric), **(limits.scale if limits else {}))
    return make_figure("learning_curves", _title(data), _caption(data) + (limits.note if limits else ""), plot, 460)


def _joined(curves: Iterable[Curve]) -> tuple[Floats, Floats, Floats]:
    """Return epochs, values and trial numbers of several curves as one line, with a gap after each."""
    gap = np.array([math.nan])
    parts = [(curve.progress, curve.values, np.full(len(curve.progress), curve.trial)) for curve in curves]
    columns = [np.concatenate([piece for part in parts for piece in (part[side], gap)]) for side in range(3)]
    return columns[0].astype(np.float32), columns[1].astype(np.float32), columns[2].astype(np.float32)


def _lines(curves: Sequence[Curve], status: str, opacity: float, unit: str) -> go.Scatter:
    import plotly.graph_objects as go

    style = STATUSES[status]
    epochs, values, numbers = _joined(curves)
    return go.Scatter(
        x=epochs,
        y=values,
        customdata=numbers,
        mode="lines",
        line={"color": style.colour, "width": 1.2, "dash": style.dash},
        opacity=opacity,
        name=f"{style.words} ({len(curves)})",
        legendgroup=status,
        hovertemplate=f"trial %{{customdata}}, {unit} %{{x}}: %{{y:.4g}}<extra>{style.words}</extra>",
    )


def _ends(curves: Sequence[Curve], status: str, opacity: float) -> go.Scatter:
    """Return markers at the curves' last points."""
    import plotly.graph_objects as go

    style = STATUSES[status]
    last = [(curve.progress[-1], curve.values[-1]) for curve in curves if len(curve.progress)]
    marker: dict[str, Any] = {"color": style.colour, "symbol": style.symbol, "size": 6}
    return go.Scatter(
        x=np.array([epoch for epoch, _ in last], dtype=np.float32),
        y=np.array([value for _, value in last], dtype=np.float32),
        mode="markers",
        marker=marker | {"line": {"color": style.colour, "width": 1.2}},
        opacity=min(1.0, opacity + 0.2),
        legendgroup=status,
        showlegend=False,
        hoverinfo="skip",
    )


def _winner(best: Curve, data: Curves) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=best.progress,
        y=best.values,
        mode="lines+markers",
        line={"color": BEST, "width": 3},
        marker={"size": 5, "color": BEST},
        name=f"best: trial {data.winner}",
        hovertemplate=f"trial {data.winner}, {escaped(axis(data.unit))} %{{x}}: %{{y:.4g}}<extra>best</extra>",
    )


def _draw_bands(plot: go.Figure, bands: Bands, unit: str) -> None:
    """Draw the middle 80 % and 50 % of all trials, and their median."""
    for low, high, words in ((0, 4, "middle 80 % of all"), (1, 3, "middle 50 % of all")):
        around = {"x": bands.progress, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        plot.add_scatter(**around, y=bands.values[:, high], showlegend=False)
        plot.add_scatter(**around, y=bands.values[:, low], fill="tonexty", fillcolor=_veil(), name=words)
    plot.add_scatter(
        x=bands.progress,
        y=bands.values[:, 2],
        customdata=bands.counts,
        mode="lines",
        line={"color": MUTED, "width": 2, "dash": "dash"},
        name="median of all",
        hovertemplate=f"{unit} %{{x}}: median %{{y:.4g}} of %{{customdata}} trials<extra></extra>",
    )


def _veil() -> str:
    red, green, blue = (int(MUTED[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _title(data: Curves) -> str:
    if data.reached is None:
        return f"{data.metric} by {axis(data.unit)}: no trial has a finite value{data.within}"
    at = place(data.reached.progress, data.unit)
    return f"{data.metric} reached {show(data.reached.value)} in trial {data.winner}, {at}"


def _caption(data: Curves) -> str:
    marks = "One line a trial; the line and its end mark show the trial's status."
    if not data.bands:
        return f"{data.metric} by {axis(data.unit)} of {counted(data.total, 'trial')} that reported. {marks}"
    lines = len(data.shown)
    return (
        f"{data.metric} by {axis(data.unit)}. Lines: {lines} of {data.total} trials, the best {MAX_LINES} and an even "
        f"sample by rank of the rest. {marks} Bands: at each {axis(data.unit)} all trials that reported there, "
        f"{data.total} in all; if trials are stopped early, later ones hold only the better trials."
    )
