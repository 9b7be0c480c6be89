"""All trials as columns, for the table in the page: compact, and plain numbers and words only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.results.terminal_tables import short_names
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import show, stories
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.secrets import redact
from orchestrator.state import SweepState

TOLD = 200
"""Of so many, the best, the page says why they are what they are: of all, a large sweep's page would hold a book."""

Column = dict[str, Any]
Row = dict[str, Any]


def trials(run: RunDirectory, state: SweepState) -> dict[str, Any]:
    """``columns`` (best trial first) and ``why``: trial number → sentences, for the first of them.

    A column has a ``title``, a ``group`` (``main`` and ``param`` are columns of the table, ``metric`` and ``detail``
    stand in a row's details), and either ``values``, numbers or null, or ``words`` and for each row the ``codes`` of
    its own. A number that is not finite is a word among the values.
    """
    found = rows(run, state)
    first = stories(state, [row["trial"] for row in found[:TOLD]])
    return {
        "name": run.name,
        "metric": _inert(state.objective.metric),
        "columns": [*_main(state, found), *_params(found), *_metrics(state, found), *_details(state, found)],
        "why": {number: [redact(said) for said in told] for number, told in first.items()},
    }


def _main(state: SweepState, found: list[Row]) -> list[Column]:
    objective = state.objective
    together = ("mean", "std", "n") if state.repeated else ()
    listed: list[tuple[str, list[Any]]] = [
        ("rank", _every("rank", found)),
        ("trial", _every("trial", found)),
        ("status", [row["status"].replace("_", " ") for row in found]),
        (objective.metric, _every("best", found)),
        *((goal.metric, [row["also"][goal.metric] for row in found]) for goal in objective.also),
        *((name, _every(name, found)) for name in together),
        ("at epoch", _every("epoch", found)),
        ("epochs", _every("epochs", found)),
        ("seconds", _every("seconds", found)),
    ]
    return [_column(title, "main", values) for title, values in listed]


def _params(found: list[Row]) -> list[Column]:
    names = dict.fromkeys(name for row in found for name in row["params"])
    short = short_names(list(names))
    columns = [_column(name, "param", [row["params"].get(name) for row in found]) for name in names]
    return [{**column, "short": _inert(name)} for name, column in zip(short, columns, strict=True)]


def _metrics(state: SweepState, found: list[Row]) -> list[Column]:
    """Everything that was logged at a trial's best epoch, or at its last where it has none."""
    at = [_logged(state, row) for row in found]
    names = dict.fromkeys(name for metrics in at for name in metrics if name != state.objective.metric)
    return [_column(name, "metric", [metrics.get(name) for metrics in at]) for name in names]


def _logged(state: SweepState, row: Row) -> dict[str, float]:
    report = state.trials[row["trial"]].reports.get(row["epoch"] or row["epochs"])
    return report.metrics if report else {}


def _details(state: SweepState, found: list[Row]) -> list[Column]:
    listed: list[tuple[str, list[Any]]] = [
        ("segments", _every("segments", found)),
        ("stopped by", [row["stopped_by"] and row["stopped_by"]["rule"] for row in found]),
        ("checkpoint", [_checkpoint(state, row) for row in found]),
        ("error", _every("error", found)),
    ]
    return [_column(title, "detail", values) for title, values in listed]


def _checkpoint(state: SweepState, row: Row) -> str | None:
    """Its path in the run directory: the page may lie elsewhere."""
    return state.trials[row["trial"]].checkpoints[row["epoch"]].path if row["checkpoint"] else None


def _every(key: str, found: Iterable[Row]) -> list[Any]:
    return [row[key] for row in found]


def _column(title: str, group: str, values: Sequence[Any]) -> Column:
    head = {"title": _inert(title), "group": group}
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return {**head, "values": [_number(value) for value in values]}
    codes: dict[str, int] = {}
    coded = [-1 if value is None else codes.setdefault(_word(value), len(codes)) for value in values]
    return {**head, "words": [_inert(word) for word in codes], "codes": coded}


def _number(value: float | None) -> float | str | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def _inert(text: str) -> str:
    return visible(redact(text))
