"""What finals came to, and what was seen of the test set, for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table

from orchestrator.results.why import show
from orchestrator.state import SweepState


def finalists(confirmation: Mapping[str, Any]) -> Table:
    """A row a finalist, best first: what the search said of it, and what its fresh trainings came to."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    interval = f"{confirmation['level']:.0%} interval"
    for title in ("finalist", "in the search", "fresh mean", interval, "n", "failed", "is best"):
        table.add_column(title, justify="left" if title == "finalist" else "right", no_wrap=True)
    for row in confirmation["table"]:
        values = (show(row["searched"]), show(row["mean"]) if row["mean"] is not None else "–", interval_of(row))
        counts = (str(len(row["values"])), str(row["failed"] or "–"))
        table.add_row(f"trial {row['configuration']}", *values, *counts, f"{row['probability']:.0%}")
    return table


def sentences(confirmation: Mapping[str, Any], metric: str) -> list[str]:
    """The winner, how sure that is, and how flattering the search's own number was."""
    first, chance = confirmation["table"][0], confirmation["table"][0]["probability"]
    number, trainings = first["configuration"], len(first["values"])
    sure = "confirmed" if confirmation["clear"] else f"not clear yet, {confirmation['confidence']:.0%} was wanted"
    lines = [
        f"winner: the parameters of trial {number}, the best with probability {chance:.0%} ({sure}): "
        f"{metric} {show(first['mean'])} over {trainings} fresh trainings, "
        f"{confirmation['level']:.0%} interval {interval_of(first)}"
    ]
    leader = searched_best(confirmation)
    if confirmation["optimism"] is not None and leader["mean"] is not None:
        by = confirmation["optimism"]
        lines.append(
            f"the search's own best number, {show(leader['searched'])} of trial {leader['configuration']}, was "
            f"{show(abs(by))} {'better' if by >= 0 else 'worse'} than the mean of that one's fresh trainings"
        )
    return lines


def searched_best(confirmation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the finalist that was the first in the search."""
    first = confirmation["first"]
    return next(row for row in confirmation["table"] if row["configuration"] == first)


def interval_of(row: Mapping[str, Any]) -> str:
    """``0.961 to 0.973``; an end that is not known is a question mark."""
    low, high = (show(row[end]) if row[end] is not None else "?" for end in ("low", "high"))
    return f"{low} to {high}"


def looks(state: SweepState) -> list[str]:
    """One sentence for each look at the test set so far."""
    return [_look(look) for look in state.test_evaluations]


def _look(look: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(look["time"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    seen = ", ".join(f"{name} {show(value)}" for name, value in (look["metrics"] or {}).items())
    whose = f"trial {look['trial']} of {look['run']}, epoch {look['epoch']}"
    return f"look {look['look']} at the test set, {when}: {whose}: {seen or 'it was cut off'}"
