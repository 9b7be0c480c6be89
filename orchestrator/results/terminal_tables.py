"""A sweep in the terminal: the live view while it runs, the ranking afterwards. Reads state, changes nothing."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.journal import Event
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import show, stop_reason
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

_LONGEST = 60  # characters of a cell; `--json` has the whole
COLOURS = {
    "running": "cyan",
    "set_aside": "blue",
    "finished": "green",
    "stopped": "yellow",
    "failed": "red",
    "interrupted": "magenta",
}


def ranking(
    found: Iterable[Mapping[str, Any]], metric: str, *, limit: int | None = None, width: int | None = None
) -> Table:
    """The ranking as a table: rank, trial, status, objective, its epoch of how many, last rung, the parameters.

    Of these as many as fit into ``width`` characters; how many more there are stands below.

    Where configurations are tried under several seeds, their mean, standard deviation and number of values as well;
    where there are several objectives, all of them, and a star for those on the Pareto front.
    """
    listed = list(found)
    shown = listed[:limit]
    together = ("mean", "std", "n") if any("configuration" in row for row in shown) else ()
    also = list(dict.fromkeys(name for row in shown for name in row.get("also", ())))
    titles = ["rank", "trial", "status", metric, *also, *together, "at epoch", "of", "rung"]
    heads = [[cell(title) for title in titles], *(_head(row, also, together) for row in shown)]
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
    if unseen := len(heads[0]) + len(names) - len(columns):
        notes.append(f"{unseen} of {len(names)} parameters do not fit here; --json has all")
    if also:
        notes.append(f"* on the Pareto front: {sum(row['front'] for row in listed)} of {len(listed)} trials")
    table.caption = "; ".join(notes) or None
    return table


def _head(row: Mapping[str, Any], also: Iterable[str], together: Iterable[str]) -> list[Text]:
    """What stands before the parameters."""
    values = [row["best"], *(row["also"][name] for name in also), *(row[name] for name in together)]
    number = f"* {row['trial']}" if row.get("front") else str(row["trial"])
    status = cell(row["status"].replace("_", " "), COLOURS.get(row["status"], ""))
    epochs = (str(row["epoch"] or "–"), str(row["epochs"]), str(row["rung"] or "–"))
    told = (show(value) if value is not None else "–" for value in values)
    return [cell(str(row["rank"])), cell(number), status, *map(cell, told), *map(cell, epochs)]


def _fitting(head: list[list[Text]], more: list[list[Text]], width: int | None) -> list[list[Text]]:
    """The columns of the head, and as many more as fit into ``width`` characters beside them, but one at least.

    Where not all fit, their titles are no longer than their values.
    """
    columns, left = list(head), math.inf if width is None else width - sum(map(_width, head))
    if sum(map(_width, more)) > left:
        more = [[_cut(title, max(6, *(value.cell_len for value in values))), *values] for title, *values in more]
    for place, column in enumerate(more):
        left -= _width(column)
        if left < 0 and place:
            break
        columns.append(column)
    return columns


def _width(column: Iterable[Text]) -> int:
    """Of a column, with what stands between two."""
    return max(part.cell_len for part in column) + 3


def comparison(searches: Iterable[Mapping[str, Any]], metric: str) -> Table:
    """Searches side by side, as `engine.comparison.Figures` has them: what they cost and what they found."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in ("search", "workers", "seeds", "trials", "epochs", "hours", metric, "found best", "after epochs"):
        table.add_column(cell(title), justify="left" if title == "search" else "right", no_wrap=True)
    for title in ("regret", "past end"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in searches:
        counts = (f"{row[name]:g}" for name in ("workers", "seeds", "trials", "epochs"))
        costs = [show(row[name]) if row[name] is not None else "–" for name in ("hours", "best")]
        found = f"{row['found']:.0%}", "–" if row["to_best"] is None else f"{row['to_best']:g}"
        regret = "–" if row["regret"] is None else show(row["regret"])
        table.add_row(cell(row["search"]), *counts, *costs, *found, regret, f"{row['past_end']:.0%}")
    return table


def cell(text: str, style: str = "") -> Text:
    """Text that others wrote, in a table: no markup, nothing that moves the cursor, and no more than fits."""
    return _cut(Text(visible(text), style=style), _LONGEST)


def _cut(text: Text, longest: int) -> Text:
    return text if len(text) <= longest else Text(f"{text.plain[: longest - 1]}…", style=text.style)


def short_names(names: list[str]) -> list[str]:
    """Parameter names without their first part, where that leaves them distinct."""
    last = [name.split(".", 1)[-1].replace("init_args.", "") for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def summary(run: RunDirectory, state: SweepState, total: int | None) -> str:
    """One line: how far it is, what is best, how long it may take."""
    done = state.count("finished", "stopped", "failed")
    parts = [f"{run.name}: {done}" + (f" of {total} trials" if total else " trials")]
    for status, word in (
        ("running", "running"),
        ("set_aside", "set aside"),
        ("stopped", "stopped early"),
        ("failed", "failed"),
    ):
        if state.count(status):
            parts.append(f"{state.count(status)} {word}")
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner and best:
        parts.append(f"best {state.objective.metric} {show(best.value)} (trial {winner.number})")
    return ", ".join(parts)


def spending(limits: Mapping[str, Any], spent: Mapping[str, float]) -> str:
    """What was spent of each budget that is limited; empty where only trials and a target are."""
    words = {
        "epochs": "{:.4g} of {:g} epochs",
        "gpu_hours": "{:.4g} of {:g} GPU-hours",
        "cost": "a cost of {:.4g} of {:g}",
    }
    parts = [said.format(spent[key], limits[key]) for key, said in words.items() if limits.get(key) is not None]
    if (limit := limits.get("wall_clock")) is not None:
        parts.append(f"{duration(spent['wall_clock'])} of {duration(limit)}")
    return f"spent: {', '.join(parts)}" if parts else ""


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 10 s, 2 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Shows a sweep while it runs, on stderr: a live table in a terminal, else one line for each trial that ends."""

    def __init__(self, run: RunDirectory, console: Console | None = None) -> None:
        self._run = run
        self._console = console or Console(stderr=True)
        self._began = time.monotonic()
        self._drawn = -1
        self._state: SweepState | None = None
        self._table: Table | str = ""
        self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            with contextlib.suppress(OSError):
                self._live.stop()

    def __call__(self, state: SweepState, event: Event) -> None:
        """The observer of a live sweep."""
        self._state = state
        if event.type == "sweep.launched":
            self._began = time.monotonic()
        if not self._console.is_terminal:
            self._line(state, event)

    def _view(self) -> Group:
        """The live view. Drawn by a thread of its own, so that the sweep never waits for the terminal."""
        if self._state is None:
            return Group(Text("checking the sweep and starting Ray …", style="dim"))
        if self._state.seq != self._drawn:
            # The sweep may add a trial meanwhile: then this frame shows the table before.
            with contextlib.suppress(RuntimeError):
                seq, room = self._state.seq, max(5, self._console.height - 8)
                self._table = ranking(
                    rows(self._run, self._state), self._state.objective.metric, limit=room, width=self._console.width
                )
                self._drawn = seq
        total = self._state.spec["budget"].get("trials")
        line = cell(summary(self._run, self._state, total), style="bold")
        spent = time.monotonic() - self._began
        done = self._state.count("finished", "stopped", "failed")
        eta = f", about {duration(spent / done * (total - done))} left" if total and 0 < done < total else ""
        return Group(line, self._table, Text(f"{duration(spent)}{eta}; Ctrl-C stops cleanly", style="dim"))

    def _line(self, state: SweepState, event: Event) -> None:
        if event.type == "sweep.launched":
            self._say(f"{self._run.name}: {event['slots']} at once, journal {self._run.journal}")
        if event.type not in ("trial.finished", "trial.stopped", "trial.failed"):
            return
        trial = state.trials[event["trial"]]
        best = state.objective.best(trial)
        score = f"{state.objective.metric} {show(best.value)} at epoch {best.epoch}" if best else "no finite value"
        reason = f": {stop_reason(trial.stopped_by)}" if trial.stopped_by else ""
        reason = f": {trial.failures[-1].message}" if trial.status == "failed" and trial.failures else reason
        self._say(f"trial {trial.number} {trial.status}, {score}{reason}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; the sweep goes on
            self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
