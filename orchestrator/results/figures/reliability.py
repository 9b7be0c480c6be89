"""Reliability figure: an audit's forecasts against what came of them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.results.audit import Bin, audit_of
from orchestrator.results.audit_text import lost_sentence
from orchestrator.results.figures.figure import MUTED, STATUSES, Figure, make_figure
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState


def reliability(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw forecasts against outcomes; None if nothing was stopped, or too few trials have finished."""
    try:
        audit = audit_of(state)
    except UsageError:
        return None
    return draw(audit.bins, lost_sentence(audit, state)) if audit.bins else None


def draw(bins: Sequence[Bin], lost: str) -> Figure:
    """Draw the bins of an audit; ``lost`` is its sentence on lost winners."""
    import plotly.graph_objects as go

    plot = go.Figure()
    plot.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": MUTED, "dash": "dot"}, name="as forecast", hoverinfo="skip"
    )
    plot.add_scatter(
        x=[each.forecast for each in bins],
        y=[each.observed for each in bins],
        mode="lines+markers",
        marker={"color": STATUSES["finished"].colour, "size": 9},
        customdata=[each.n for each in bins],
        name="observed",
        hovertemplate="forecast %{x:.0%}, observed %{y:.0%}, n = %{customdata}<extra></extra>",
    )
    plot.update_xaxes(title_text="forecast probability", tickformat=".0%", range=[0, 1])
    plot.update_yaxes(title_text="share that came true", tickformat=".0%", range=[0, 1])
    caption = (
        "Trials that were trained to the end: the probability, forecast from each rung without that trial's own end, "
        "that it ends among the best quarter, half or three quarters of them, against how often that came true."
    )
    return make_figure("reliability", f"{lost[0].upper()}{lost[1:]}", caption, plot)
