"""All trials as compact columns of numbers and words, for the table of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.progress import SECONDS, axis, noun
from orchestrator.results.terminal_tables import short_names
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import show, stories
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

EXPLAINED = 200
"""The number of trials, the best ones, that the page explains; explaining all would make a large sweep's page huge."""

Column = dict[str, Any]
Row = dict[str, Any]


def trials(run: RunDirectory, state: SweepState) -> dict[str, Any]:
    """Return ``columns`` (best trial first) and ``why``, which maps the first trials' numbers to sentences.

    A column has a ``title`` and a ``group``: ``main`` and ``param`` are columns of the table, ``metric`` and ``detail``
    appear in a row's details. It has either ``values``, numbers or null, or ``words`` with an index into them for each
    row in ``codes``. A number that is not finite is a string among the values.
    """
    ranked = rows(run, state)
    explanations = stories(state, [row["trial"] for row in ranked[:EXPLAINED]])
    return {
        "name": run.name,
        "metric": _safe(state.objective.metric),
        "columns": [*_main(state, ranked), *_params(ranked), *_metrics(state, ranked), *_details(state, ranked)],
        "why": {number: list(sentences) for number, sentences in explanations.items()},
    }


def _main(state: SweepState, ranked: list[Row]) -> list[Column]:
    objective = state.objective
    group_columns = ("mean", "std", "n") if state.repeated else ()
    columns: list[tuple[str, list[Any]]] = [
        ("rank", _values("rank", ranked)),
        ("trial", _values("trial", ranked)),
        ("status", [row["status"].replace("_", " ") for row in ranked]),
        (objective.metric, _values("best", ranked)),
        *((goal.metric, [row["also"][goal.metric] for row in ranked]) for goal in objective.also),
        *((name, _values(name, ranked)) for name in group_columns),
        (f"at {axis(state.unit)}", _values("at", ranked)),
        (noun(state.unit) if state.unit != SECONDS else "seconds trained", _values("progress", ranked)),
        ("busy (s)", _values("busy", ranked)),
        ("waited (s)", _values("waited", ranked)),
    ]
    return [_column(title, "main", values) for title, values in columns]


def _params(ranked: list[Row]) -> list[Column]:
    names = dict.fromkeys(name for row in ranked for name in row["params"])
    short = short_names(list(names))
    columns = [_column(name, "param", [row["params"].get(name) for row in ranked]) for name in names]
    return [{**column, "short": _safe(name)} for name, column in zip(short, columns, strict=True)]


def _metrics(state: SweepState, ranked: list[Row]) -> list[Column]:
    """Return the metrics of each trial's best report, or of its last report if it has no best."""
    logged = [_logged(state, row) for row in ranked]
    names = dict.fromkeys(name for metrics in logged for name in metrics if name != state.objective.metric)
    return [_column(name, "metric", [metrics.get(name) for metrics in logged]) for name in names]


def _logged(state: SweepState, row: Row) -> dict[str, float]:
    report = state.trials[row["trial"]].reports.get(row["at"] or row["progress"])
    return report.metrics if report else {}


def _details(state: SweepState, ranked: list[Row]) -> list[Column]:
    columns: list[tuple[str, list[Any]]] = [
        ("segments", _values("segments", ranked)),
        ("stopped by", [row["stopped_by"] and row["stopped_by"]["rule"] for row in ranked]),
        ("checkpoint", [_checkpoint(state, row) for row in ranked]),
        ("error", _values("error", ranked)),
    ]
    return [_column(title, "detail", values) for title, values in columns]


def _checkpoint(state: SweepState, row: Row) -> str | None:
    """Return its path relative to the run directory, since the page may be elsewhere."""
    return state.trials[row["trial"]].checkpoints[row["at"]].path if row["checkpoint"] else None


def _values(key: str, ranked: Iterable[Row]) -> list[Any]:
    return [row[key] for row in ranked]


def _column(title: str, group: str, values: Sequence[Any]) -> Column:
    head = {"title": _safe(title), "group": group}
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return {**head, "values": [_number(value) for value in values]}
    codes: dict[str, int] = {}
    coded = [-1 if value is None else codes.setdefault(_word(value), len(codes)) for value in values]
    return {**head, "words": [_safe(word) for word in codes], "codes": coded}


def _number(value: float | None) -> float | str | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def _safe(text: str) -> str:
    return visible(text)
