"""Terminal output of a sweep: the live view, the ranking, summary lines and durations."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.journal import Event
from orchestrator.plan.memory_size import size_text
from orchestrator.plan.time_left import Forecast, TimeLeft
from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.progress import EPOCHS, UNITS, axis, figure, noun, place
from orchestrator.results.live_trials import live_lines, live_trials
from orchestrator.results.run_overview import RunSummary
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import show, stop_reason
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.disk_use import DiskUse
from orchestrator.rundir.startup import Startup, phases_text
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

_MAX_CELL = 60  # characters; `--json` has the full text
_ENDS_START = frozenset({"segment.reported", "trial.finished", "trial.failed", "sweep.paused", "sweep.completed"})
_MAX_LIVE = 4  # running trials with a line of their own
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
        notes.append(f"{hidden} of {len(names)} parameters do not fit; --json has all")
    if also:
        notes.append(f"* on the Pareto front: {sum(row['front'] for row in listed)} of {len(listed)} trials")
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
    parts = [f"{run.name}: {done}" + (f" of {total} trials" if total else " trials")]
    counts = {
        "running": state.count("running"),
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


def count_stopped_early(state: SweepState) -> int:
    """Return how many trials were stopped before they had trained in full."""
    if not state.count("stopped"):
        return 0
    end = recorded_horizon(state)
    stopped = (trial for trial in state.trials.values() if trial.status == "stopped")
    return sum(end is None or trial.progress < end for trial in stopped)


def spending(limits: Mapping[str, Any], spent: Mapping[str, float]) -> str:
    """Return what was spent of each limited budget; empty if only trials and a target are limited."""
    templates = {
        **{unit: f"{{:.4g}} of {{:g}} {unit}" for unit in UNITS},
        "gpu_hours": "{:.4g} of {:g} GPU-hours",
        "cost": "a cost of {:.4g} of {:g}",
    }
    parts = [
        template.format(spent[key], limits[key]) for key, template in templates.items() if limits.get(key) is not None
    ]
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


class Progress:
    """Show a running sweep on stderr: a live table in a terminal, else one line for each trial that ends."""

    def __init__(self, run: RunDirectory, console: Console | None = None) -> None:
        self._run = run
        self._console = console or Console(stderr=True)
        self._started = time.monotonic()
        self._drawn = -1
        self._state: SweepState | None = None
        self._table: Table | str = ""
        self._live_text: list[Text] = []
        self._next_live = 0.0
        self._forecast = Forecast(run.journal)
        self._startup = Startup(run)
        self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._startup.close()
        if self._console.is_terminal:
            with contextlib.suppress(OSError):
                self._live.stop()

    def phase(self, name: str) -> None:
        """Begin a phase of the start: ``starting Ray``."""
        self._startup.phase(name)

    def _follow_start(self, event: Event) -> None:
        """End the start at the first report, and say what it took where there is no table that has shown it."""
        if event.type == "sweep.launched":
            self.phase("first trial")
        elif event.type in _ENDS_START and self._startup.phases:
            phases = self._startup.phases
            self._startup.finish()
            if not self._console.is_terminal:
                self._print(
                    f"{self._run.name}: started in {duration(sum(p.seconds for p in phases))}: {phases_text(phases)}"
                )

    def show(self, state: SweepState) -> str:
        """Show a state that was read; return the sweep's status. Elsewhere than in a terminal, print it at the end."""
        self._state = state
        if not self._console.is_terminal and state.status != "running":
            self._print(summary(self._run, state, state.spec["budget"].get("trials")))
        return state.status

    def __call__(self, state: SweepState, event: Event) -> None:
        """Take an event of the running sweep."""
        self._state = state
        self._follow_start(event)
        if event.type == "sweep.launched":
            self._started = time.monotonic()
        if not self._console.is_terminal:
            self._print_event(state, event)

    def _view(self) -> Group:
        """Return the live view; a thread of its own calls this, so the sweep never waits for the terminal."""
        phases = phases_text(self._startup.phases)
        if self._state is None:
            return Group(Text(f"{visible(self._run.name)}: {phases} …", style="dim"))
        if self._state.seq != self._drawn:
            # The sweep may add a trial during iteration; the previous table is shown then.
            with contextlib.suppress(RuntimeError):
                seq, limit = self._state.seq, max(5, self._console.height - 8)
                self._table = ranking(
                    rows(self._run, self._state),
                    self._state.objective.metric,
                    limit=limit,
                    width=self._console.width,
                    unit=self._state.unit,
                )
                self._drawn = seq
        total = self._state.spec["budget"].get("trials")
        line = Text(visible(summary(self._run, self._state, total)), style="bold")
        elapsed = time.monotonic() - self._started
        left = left_text(self._forecast.time_left(self._state))
        start = f"; {phases} …" if phases else ""
        end = Text(f"{duration(elapsed)}{left and ', '}{left}{start}; Ctrl-C stops cleanly", style="dim")
        return Group(line, self._table, *self._live_lines(self._state), end)

    def _live_lines(self, state: SweepState) -> list[Text]:
        """Return a line a running trial, read at most once a second."""
        if time.monotonic() >= self._next_live:
            with contextlib.suppress(RuntimeError):  # a trial has ended meanwhile
                lines = live_lines(live_trials(self._run, state), state, _MAX_LIVE)
                self._live_text = [Text(visible(line), style="dim") for line in lines]
            self._next_live = time.monotonic() + 1.0
        return self._live_text

    def _print_event(self, state: SweepState, event: Event) -> None:
        if event.type == "sweep.launched":
            self._print(f"{self._run.name}: {event['slots']} at once, journal {self._run.journal}")
        if event.type not in ("trial.finished", "trial.stopped", "trial.failed"):
            return
        trial = state.trials[event["trial"]]
        best = state.objective.best(trial)
        score = (
            f"{state.objective.metric} {show(best.value)} at {place(best.progress, state.unit)}"
            if best
            else "no finite value"
        )
        reason = f": {stop_reason(trial.stopped_by, state.unit)}" if trial.stopped_by else ""
        reason = f": {trial.failures[-1].message}" if trial.status == "failed" and trial.failures else reason
        self._print(f"trial {trial.number} {trial.status}, {score}{reason}")

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be closed; the sweep continues
            self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
