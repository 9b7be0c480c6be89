"""What the finalists came to under fresh seeds, beside what the search had said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results.figures.figure import BEST, MUTED, STATUSES, Figure, finished, inert
from orchestrator.results.verdict import sentences
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState


@dataclass(frozen=True)
class Finalist:
    """``mean`` of the fresh ``values`` and the ends of its interval, NaN where not known."""

    configuration: int
    mean: float
    low: float
    high: float
    searched: float
    values: Sequence[float]
    probability: float


def finalists_of(confirmation: Mapping[str, Any]) -> list[Finalist]:
    """Those with a value, best first."""
    return [_finalist(row) for row in confirmation["table"] if row["mean"] is not None]


def _finalist(row: Mapping[str, Any]) -> Finalist:
    low, high = (row[end] if row[end] is not None else math.nan for end in ("low", "high"))
    chance = row["probability"]
    return Finalist(row["configuration"], row["mean"], low, high, row["searched"], row["values"], chance)


def finals(run: RunDirectory, state: SweepState) -> Figure | None:
    """Means, intervals and single trainings of the finalists; None where no finals were held."""
    found = finalists_of(state.confirmation) if state.confirmation else []
    return draw(found, state.confirmation, state.objective.metric) if found and state.confirmation else None


def draw(found: Sequence[Finalist], confirmation: Mapping[str, Any], metric: str) -> Figure:
    import plotly.graph_objects as go

    plot = go.Figure()
    labels = [f"trial {each.configuration}" for each in found]
    known = [each if math.isfinite(each.low) and math.isfinite(each.high) else None for each in found]
    plot.add_scatter(
        x=[value for each in found for value in each.values],
        y=[label for each, label in zip(found, labels, strict=True) for _ in each.values],
        mode="markers",
        marker={"color": MUTED, "size": 6, "opacity": 0.7},
        name="one fresh training",
        hovertemplate="%{y}: %{x:.4g}<extra>one fresh training</extra>",
    )
    plot.add_scatter(
        x=[each.searched for each in found],
        y=labels,
        mode="markers",
        marker={"color": STATUSES["stopped"].colour, "size": 10, "symbol": "diamond-open", "line_width": 2},
        name="what the search said",
        hovertemplate="%{y}: %{x:.4g}<extra>in the search</extra>",
    )
    plot.add_scatter(
        x=[each.mean for each in found],
        y=labels,
        mode="markers",
        marker={"color": BEST, "size": 9, "symbol": "square"},
        error_x={
            "array": [each.high - each.mean if each else 0.0 for each in known],
            "arrayminus": [each.mean - each.low if each else 0.0 for each in known],
            "color": BEST,
            "thickness": 2,
        },
        customdata=[each.probability for each in found],
        name=f"mean, {confirmation['level']:.0%} interval",
        hovertemplate="%{y}: mean %{x:.4g}, the best with probability %{customdata:.0%}<extra></extra>",
    )
    plot.update_yaxes(autorange="reversed", type="category")
    plot.update_xaxes(title_text=inert(metric))
    said = " ".join(f"{line[0].upper()}{line[1:]}." for line in sentences(confirmation, metric))
    return finished("finals", _title(found, confirmation), said, plot, 170 + 46 * len(found))


def _title(found: Sequence[Finalist], confirmation: Mapping[str, Any]) -> str:
    first = found[0]
    how = "is the best" if confirmation["clear"] else "leads, but it is not clear yet"
    return f"Trial {first.configuration} {how}: probability {first.probability:.0%}"
