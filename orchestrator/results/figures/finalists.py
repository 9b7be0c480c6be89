"""Finals figure: fresh trainings of the finalists next to their values in the search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.progress import percent
from orchestrator.results.figures.figure import BEST, MUTED, STATUSES, Figure, escaped, make_figure
from orchestrator.results.verdict import sentences
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState


@dataclass(frozen=True)
class Finalist:
    """A finalist: ``mean`` of the fresh ``values`` and the ends of its interval, NaN if unknown."""

    configuration: int
    mean: float
    low: float
    high: float
    searched: float
    values: Sequence[float]
    probability: float


def finalists_of(confirmation: Mapping[str, Any]) -> list[Finalist]:
    """Return the finalists with a value, best first."""
    return [_finalist(row) for row in confirmation["table"] if row["mean"] is not None]


def _finalist(row: Mapping[str, Any]) -> Finalist:
    low, high = (row[end] if row[end] is not None else math.nan for end in ("low", "high"))
    chance = row["probability"]
    return Finalist(row["configuration"], row["mean"], low, high, row["searched"], row["values"], chance)


def finals(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw means, intervals and single trainings of the finalists; None if no finals were held."""
    rows = finalists_of(state.confirmation) if state.confirmation else []
    return draw(rows, state.confirmation, state.objective.metric) if rows and state.confirmation else None


def draw(rows: Sequence[Finalist], confirmation: Mapping[str, Any], metric: str) -> Figure:
    """Draw the finalists."""
    import plotly.graph_objects as go

    plot = go.Figure()
    labels = [f"trial {row.configuration}" for row in rows]
    bounded = [row if math.isfinite(row.low) and math.isfinite(row.high) else None for row in rows]
    plot.add_scatter(
        x=[value for row in rows for value in row.values],
        y=[label for row, label in zip(rows, labels, strict=True) for _ in row.values],
        mode="markers",
        marker={"color": MUTED, "size": 6, "opacity": 0.7},
        name="one fresh training",
        hovertemplate="%{y}: %{x:.4g}<extra>one fresh training</extra>",
    )
    plot.add_scatter(
        x=[row.searched for row in rows],
        y=labels,
        mode="markers",
        marker={"color": STATUSES["stopped"].colour, "size": 10, "symbol": "diamond-open", "line_width": 2},
        name="value in the search",
        hovertemplate="%{y}: %{x:.4g}<extra>in the search</extra>",
    )
    plot.add_scatter(
        x=[row.mean for row in rows],
        y=labels,
        mode="markers",
        marker={"color": BEST, "size": 9, "symbol": "square"},
        error_x={
            "array": [row.high - row.mean if row else 0.0 for row in bounded],
            "arrayminus": [row.mean - row.low if row else 0.0 for row in bounded],
            "color": BEST,
            "thickness": 2,
        },
        customdata=[row.probability for row in rows],
        name=f"mean, {confirmation['level']:.0%} interval",
        hovertemplate="%{y}: mean %{x:.4g}, the best with probability %{customdata:.0%}<extra></extra>",
    )
    plot.update_yaxes(autorange="reversed", type="category")
    plot.update_xaxes(title_text=escaped(metric))
    caption = " ".join(f"{line[0].upper()}{line[1:]}." for line in sentences(confirmation, metric))
    return make_figure("finals", _title(rows, confirmation), caption, plot, 170 + 46 * len(rows))


def _title(rows: Sequence[Finalist], confirmation: Mapping[str, Any]) -> str:
    first = rows[0]
    if len(rows) == 1:
        return f"Trial {first.configuration} was the only finalist"
    standing = "is the best" if confirmation["clear"] else "leads, but is not clear yet"
    return f"Trial {first.configuration} {standing}: probability {percent(first.probability, '')}"
