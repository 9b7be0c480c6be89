"""What a command that runs a sweep shows of it: a live table in a terminal, else a line for each trial that ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.journal import Event
from orchestrator.plan.time_left import Forecast, TimeLeft
from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.progress import place
from orchestrator.results.live_trials import live_lines, live_trials
from orchestrator.results.ranked_rows import Row, Rows
from orchestrator.results.terminal_columns import Column, cells, columns
from orchestrator.results.terminal_graphics import bar
from orchestrator.results.terminal_tables import COLOURS, duration, left_text, summary
from orchestrator.results.why import show, stop_reason
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.startup import Startup, phases_text
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

_ENDS_START = frozenset({"segment.reported", "trial.finished", "trial.failed", "sweep.paused", "sweep.completed"})
_MAX_LIVE = 4  # running trials with a line of their own
_LEAST_ROWS = 3
_WIDE = 120  # columns of a terminal, from which on curves are longer
_TIME_SHARE = 0.05  # of the time, at most, for the table's rows


class Progress:
    """Show a running sweep on stderr: a live table in a terminal, else one line for each trial that ends.

    Attributes:
        hint: what a key does while the table is shown, for its last line.
    """

    def __init__(self, run: RunDirectory, console: Console | None = None) -> None:
        self.hint = ""
        self._run = run
        self._console = console or Console(stderr=True)
        self._started = time.monotonic()
        self._state: SweepState | None = None
        self._table = _LiveTable()
        self._live_text: list[Text] = []
        self._next_live = 0.0
        self._forecast = Forecast(run.journal)
        self._startup = Startup(run)
        self._live = self._new_display()
        self._shown = threading.Lock()  # held while the display is started or stopped

    def _new_display(self) -> Live:
        return Live(get_renderable=self._view, console=self._console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._startup.close()
        if self._console.is_terminal:
            with contextlib.suppress(OSError), self._shown:
                self._live.stop()

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the display off the terminal meanwhile; the sweep continues."""
        with self._shown:
            with contextlib.suppress(OSError):
                self._live.stop()
            try:
                yield
            finally:
                self._live = self._new_display()
                with contextlib.suppress(OSError):
                    self._live.start()

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
        self._table.note(None)
        if not self._console.is_terminal and state.status != "running":
            self._print(summary(self._run, state, state.spec["budget"].get("trials")))
        return state.status

    def __call__(self, state: SweepState, event: Event) -> None:
        """Take an event of the running sweep."""
        self._table.note(event if self._console.is_terminal and self._state is state else None)
        self._state = state
        self._follow_start(event)
        if event.type == "sweep.launched":
            self._started = time.monotonic()
        if not self._console.is_terminal:
            self._print_event(state, event)

    def _view(self) -> Group:
        """Return the live view; a thread of its own calls this, so the sweep never waits for the terminal."""
        phases, state, width = phases_text(self._startup.phases), self._state, self._console.width
        if state is None:
            return Group(_line(f"{visible(self._run.name)}: {phases} …", "dim"))
        left = self._forecast.time_left(state)
        head = Text(visible(summary(self._run, state, state.spec["budget"].get("trials"))), style="bold")
        above = [head, *_progress_line(left, width)]
        below = [*self._live_lines(state), self._last_line(left, phases)]
        rows = self._console.height - 2 - len(head.wrap(self._console, width)) - len(above[1:]) - len(below)
        table = self._table.lines(state, max(_LEAST_ROWS, rows), width)
        return Group(*above, *table, *below)

    def _last_line(self, left: TimeLeft, phases: str) -> Text:
        """Return how long it runs, what the start is at, and what keys do."""
        parts = [duration(time.monotonic() - self._started) if self._state else "", f"{phases} …" if phases else ""]
        if left.share is None:
            parts.insert(1, left_text(left))
        return _line("; ".join(filter(None, [*parts, self.hint, "Ctrl-C stops cleanly"])), "dim")

    def _live_lines(self, state: SweepState) -> list[Text]:
        """Return a line a running trial, read at most once a second."""
        if time.monotonic() >= self._next_live:
            with contextlib.suppress(RuntimeError):  # a trial has ended meanwhile
                lines = live_lines(live_trials(self._run, state), state, _MAX_LIVE)
                self._live_text = [_line(visible(line), "dim") for line in lines]
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


class _LiveTable:
    """The best trials with their curves, as `sweep watch` shows them, of a state that another thread changes."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._changed: deque[int] = deque()  # trials since the rows were made
        self._all = True  # whether all trials may have changed
        self._lines: list[Text] = []
        self._drawn: tuple[int, int, int] | None = None  # what the lines show: journal, rows and width
        self._next = 0.0

    def note(self, event: Event | None) -> None:
        """Note what an event has changed; all trials if there is none. It never waits for a drawing."""
        if event is None or event.type.startswith("sweep."):
            self._all = True
        elif "trial" in event.fields:
            self._changed.append(event["trial"])

    def lines(self, state: SweepState, most: int, width: int) -> list[Text]:
        """Return the titles and so many rows; those of before if a trial was added meanwhile, or drawing takes long."""
        key, began = (state.seq, most, width), time.monotonic()
        if key == self._drawn or began < self._next:
            return self._lines
        try:
            self._rows.update(state, self._noted())
            self._lines = _table_lines(state, self._rows, most, width)
        except (RuntimeError, KeyError):  # the sweep has added a trial meanwhile
            self._all = True
            return self._lines
        self._drawn, self._next = key, time.monotonic() + (time.monotonic() - began) / _TIME_SHARE
        return self._lines

    def _noted(self) -> set[int] | None:
        """Return the trials that have changed, and forget them; None for all."""
        changed: set[int] = set()
        with contextlib.suppress(IndexError):
            while True:
                changed.add(self._changed.popleft())
        if not self._all:
            return changed
        self._all = False
        return None


def _table_lines(state: SweepState, table: Rows, most: int, width: int) -> list[Text]:
    listed = table.listed("rank", down=False)
    if not listed:
        return []
    hidden = len(listed) - most
    end = recorded_horizon(state) or max(row.progress for row in listed)
    shown = columns(state.objective.metric, table.names, wide=width >= _WIDE, unit=state.unit, reached=table.widest)
    titles = _line(" ".join(column.cell(column.title) for column in shown), "bold underline")
    rows = [_row(row, table.ranks[row.trial], shown, end) for row in listed[: most - (hidden > 0)]]
    return [titles, *rows, *([_line(f"… and {len(listed) - len(rows)} more", "dim")] if hidden > 0 else [])]


def _row(row: Row, rank: int, shown: list[Column], end: float) -> Text:
    """Return a row of the table; status and curve are coloured by status, as elsewhere."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for column, text in zip(shown, cells(row, rank, shown, end), strict=True):
        line.append(f"{text} ", COLOURS.get(row.status, "") if column.key in ("status", "") else "")
    return line


def _progress_line(left: TimeLeft, width: int) -> list[Text]:
    """Return the bar with the share of the sweep that is done and the time left; nothing if they are not known."""
    if left.share is None:
        return []
    text = f" {left.share:4.0%} {left_text(left)}".rstrip()
    return [Text.assemble(bar(left.share, max(10, width - len(text) - 1)), text, no_wrap=True, overflow="ellipsis")]


def _line(text: str, style: str = "") -> Text:
    """Return a line that is cut rather than wrapped."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
