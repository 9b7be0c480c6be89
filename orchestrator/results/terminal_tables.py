"""Terminal output of a sweep: the ranking, tables of runs and searches, summary lines and durations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.plan.memory_size import size_text
from orchestrator.plan.time_left import TimeLeft
from orchestrator.progress import EPOCHS, UNITS, axis, counted, figure, noun, span
from orchestrator.results.early_stops import count_stopped_early
from orchestrator.results.run_overview import RunSummary
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.disk_use import DiskUse
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

_MAX_CELL = 60  # characters; `--json` has the full text
COLOURS = {
    "running": "cyan",
    "set_aside": "blue",
    "finished": "green",
    "stopped": "yellow",
    "failed": "red",
    "interrupted": "magenta",
}
RUN_COLOURS = {
    "running": "cyan",
    "completed": "green",
    "damaged": "red",
    "starting": "cyan",
    "interrupted": "magenta",
    "paused": "blue",
}


def ranking(
    trials: Iterable[Mapping[str, Any]],
    metric: str,
    *,
    limit: int | None = None,
    width: int | None = None,
    unit: str = EPOCHS,
) -> Table:
    """Return the ranking as a table, from rows of `trial_rows.rows`.

    The columns are rank, trial, status, objective, its epoch, the epochs reported, the last rung, and as many
    parameters as fit into ``width`` characters; the caption counts the rest. With several seeds a configuration there
    are also its mean, standard deviation and number of values; with several objectives all of them, and a star marks
    the front.
    """
    listed = list(trials)
    shown = listed[:limit]
    group_columns = ("mean", "std", "n") if any("configuration" in row for row in shown) else ()
    also = list(dict.fromkeys(name for row in shown for name in row.get("also", ())))
    titles = ["rank", "trial", "status", metric, *also, *group_columns, f"at {axis(unit)}", "of", "rung"]
    heads = [[cell(title) for title in titles], *(_head(row, also, group_columns, unit) for row in shown)]
    names = list(dict.fromkeys(name for row in shown for name in row["params"]))
    parameters = [
        [cell(title), *(cell(show(row["params"][name])) if name in row["params"] else cell("–") for row in shown)]
        for name, title in zip(names, short_names(names), strict=True)
    ]
    columns = _fitting([list(column) for column in zip(*heads, strict=True)], parameters, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title, *_ in columns:
        justify: Literal["left", "right"] = "left" if title.plain == "status" else "right"
        table.add_column(title, justify=justify, no_wrap=True, overflow="ellipsis")
    for line in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*line)
    notes = [f"… and {len(listed) - len(shown)} more"] if len(listed) > len(shown) else []
    if hidden := len(heads[0]) + len(names) - len(columns):
        notes.append(f"{hidden} of {counted(len(names), 'parameter')} do not fit; --json has all")
    if also:
        notes.append(
            f"* on the Pareto front: {sum(row['front'] for row in listed):,} of {counted(len(listed), 'trial')}"
        )
    table.caption = "; ".join(notes) or None
    return table


def _head(row: Mapping[str, Any], also: Iterable[str], group_columns: Iterable[str], unit: str) -> list[Text]:
    """Return the cells before the parameters."""
    values = [row["best"], *(row["also"][name] for name in also), *(row[name] for name in group_columns)]
    number = f"* {row['trial']}" if row.get("front") else str(row["trial"])
    status = cell(row["status"].replace("_", " "), COLOURS.get(row["status"], ""))
    places = (figure(row[key], unit) if row[key] else "–" for key in ("at", "progress", "rung"))
    texts = (show(value) if value is not None else "–" for value in values)
    return [cell(str(row["rank"])), cell(number), status, *map(cell, texts), *map(cell, places)]


def _fitting(head: list[list[Text]], more: list[list[Text]], width: int | None) -> list[list[Text]]:
    """Return the head's columns and as many of ``more`` as fit into ``width`` characters, but at least one.

    If not all fit, titles are cut to the length of their values.
    """
    columns, room = list(head), math.inf if width is None else width - sum(map(_width, head))
    if sum(map(_width, more)) > room:
        more = [[_cut(title, max(6, *(value.cell_len for value in values))), *values] for title, *values in more]
    for index, column in enumerate(more):
        room -= _width(column)
        if room < 0 and index:
            break
        columns.append(column)
    return columns


def _width(column: Iterable[Text]) -> int:
    """Return the width of a column and its separator."""
    return max(part.cell_len for part in column) + 3


def comparison(searches: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """Return a table of compared searches: cost and results, as `engine.search_comparison.Figures` holds them."""
    unit = searches[0]["unit"] if searches else EPOCHS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    units = noun(unit)
    for title in ("search", "workers", "seeds", "trials", units, "hours", metric, "found best", f"after {units}"):
        table.add_column(cell(title), justify="left" if title == "search" else "right", no_wrap=True)
    for title in ("regret", "past end"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in searches:
        counts = [f"{row[name]:g}" for name in ("workers", "seeds", "trials")] + [_amount(row["trained"], unit)]
        costs = [show(row[name]) if row[name] is not None else "–" for name in ("hours", "best")]
        hits = f"{row['found']:.0%}", "–" if row["to_best"] is None else _amount(row["to_best"], unit)
        regret = "–" if row["regret"] is None else show(row["regret"])
        table.add_row(cell(row["search"]), *counts, *costs, *hits, regret, f"{row['past_end']:.0%}")
    return table


def _amount(number: float, unit: str) -> str:
    return f"{number:g}" if unit == EPOCHS else figure(number, unit)


def cell(text: str, style: str = "") -> Text:
    """Return text from a run as a table cell: no markup, no control characters, cut to the longest cell."""
    return _cut(Text(visible(text), style=style), _MAX_CELL)


def _cut(text: Text, limit: int) -> Text:
    return text if len(text) <= limit else Text(f"{text.plain[: limit - 1]}…", style=text.style)


def short_names(names: list[str]) -> list[str]:
    """Return parameter names without their first part if they stay distinct."""
    last = [name.split(".", 1)[-1].replace("init_args.", "") for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def summary(run: RunDirectory, state: SweepState, total: int | None) -> str:
    """Return one line with the number of ended trials, the counts by status, and the best value."""
    done = state.ended
    parts = [
        f"{run.name}: " + (f"{done:,} of {counted(total, 'trial')}" if total else f"{counted(done, 'trial')} ended")
    ]
    counts = {
        "running": state.count("running"),
        "interrupted": state.count("interrupted"),
        "set aside": state.count("set_aside"),
        "stopped early": count_stopped_early(state),
        "failed": state.count("failed"),
    }
    parts += [f"{count} {word}" for word, count in counts.items() if count]
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner and best:
        parts.append(f"best {state.objective.metric} {show(best.value)} (trial {winner.number})")
    return ", ".join(parts)


def run_table(runs: Sequence[RunSummary]) -> Table:
    """Return the table of runs; a column without a value is left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    rows = [_run_cells(run) for run in runs]
    titles = ("name", "state", "trials", "best", "age", "size", "tags", "note")
    for column, title in enumerate(titles):
        if column < 2 or any(row[column] for row in rows):
            right = title in ("trials", "best", "age", "size")
            table.add_column(title, justify="right" if right else "left", no_wrap=column != 7, overflow="ellipsis")
    kept = [column for column in range(len(titles)) if column < 2 or any(row[column] for row in rows)]
    for row in rows:
        table.add_row(*(cell(row[column], RUN_COLOURS.get(row[1], "") if column == 1 else "") for column in kept))
    return table


def _run_cells(run: RunSummary) -> tuple[str, ...]:
    trials = "" if run.ended is None else f"{run.ended}/{run.limit}" if run.limit else f"{run.ended}"
    best = f"{run.metric} {show(run.best)}" if run.best is not None else ""
    status = f"{run.status}, archived" if run.archived else run.status
    age = duration(time.time() - run.launched)
    return run.name, status, trials, best, age, size_text(run.size), " ".join(run.tags), run.note.partition("\n")[0]


def space_table(used: Mapping[str, DiskUse]) -> Table:
    """Return a table of what runs take, with their sum if there are several."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    columns = ("total", "checkpoints", "logs", "bundles", "journal", "other")
    table.add_column("name", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, use in used.items():
        table.add_row(cell(name), *(size_text(getattr(use, column)) for column in columns))
    if len(used) > 1:
        sums = (sum(getattr(use, column) for use in used.values()) for column in columns)
        table.add_row("all", *map(size_text, sums), style="bold")
    return table


def spending(limits: Mapping[str, Any], spent: Mapping[str, float]) -> str:
    """Return what was spent of each limited budget; empty if only trials and a target are limited."""
    parts = [
        f"{figure(spent[unit], unit)} of {span(limits[unit], unit)}" for unit in UNITS if limits.get(unit) is not None
    ]
    if (hours := limits.get("gpu_hours")) is not None:
        parts.append(f"{spent['gpu_hours']:.4g} of {counted(hours, 'GPU-hour')}")
    if (cost := limits.get("cost")) is not None:
        parts.append(f"a cost of {spent['cost']:.4g} of {cost:g}")
    if (limit := limits.get("wall_clock")) is not None:
        parts.append(f"{duration(spent['wall_clock'])} of {duration(limit)}")
    return f"spent: {', '.join(parts)}" if parts else ""


def left_text(left: TimeLeft) -> str:
    """Return ``about 2 min 10 s left``, with the budget that ends the sweep before its trials do; empty if unknown."""
    if left.seconds is None:
        return ""
    by = f" (until budget.{left.limit} is spent)" if left.limit else ""
    return f"about {duration(left.seconds)} left{by}"


def duration(seconds: float) -> str:
    """Return seconds as text: 42 s, 3 min 10 s, 2 h 05 min."""
    rounded = max(0, round(seconds))
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
