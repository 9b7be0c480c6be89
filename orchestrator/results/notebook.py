"""Jupyter output: the results of a sweep under a cell, and its progress while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orchestrator.journal import Event
from orchestrator.plan.time_left import Forecast
from orchestrator.progress import axis
from orchestrator.results.launch_progress import Progress
from orchestrator.results.live_trials import LiveTrial, live_trials, remaining, sentence
from orchestrator.results.run_state import read_state
from orchestrator.results.terminal_tables import left_text, short_names, spending, summary
from orchestrator.results.trial_rows import rows
from orchestrator.results.verdict import verdict
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.startup import Startup, phases_text
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from orchestrator.results.status import SweepStatus

TOP = 10
_INTERVAL = 0.5  # least seconds between two updates; an update may take 5 % of the time
_LIVE_INTERVAL = 2.0  # between two updates where nothing was reported meanwhile


def results_html(run: RunDirectory, state: SweepState) -> str:
    """Return the verdict and the top of the ranking as HTML, with all text escaped."""
    items = "".join(f"<li>{_escaped(sentence)}</li>" for sentence in verdict(run, state))
    return f"<div><strong>{_escaped(run.name)}</strong><ul>{items}</ul>{_table(run, state, TOP)}</div>"


def _table(run: RunDirectory, state: SweepState, limit: int) -> str:
    ranked = rows(run, state)
    shown = ranked[:limit]
    if not shown:
        return ""
    names = list(dict.fromkeys(name for row in shown for name in row["params"]))
    shorts = short_names(names)
    titles = ["rank", "trial", "status", state.objective.metric, f"at {axis(state.unit)}", "of", *shorts]
    head = "".join(f'<th scope="col">{_escaped(title)}</th>' for title in titles)
    body = "".join(_row(row, names) for row in shown)
    more = f"<p>… and {len(ranked) - len(shown)} more</p>" if len(ranked) > len(shown) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(row: dict[str, Any], names: list[str]) -> str:
    status = row["status"].replace("_", " ")
    head = [row["rank"], row["trial"], status, row["best"], row["at"], row["progress"]]
    cells = [*head, *(row["params"].get(name) for name in names)]
    texts = (_escaped(show(cell)) if cell is not None else "–" for cell in cells)
    return f"<tr>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"


def _escaped(text: object) -> str:
    return escape(visible(str(text)))


def status_html(status: SweepStatus) -> str:
    """Return the status as HTML: trials by status, what was spent, and the running trials."""
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in status.trials.items() if count)
    spent = spending(status.budget, status.spent)
    reason = f" ({status.reason})" if status.reason else ""
    left = left_text(status.time_left) if status.status != "completed" else ""
    lines = [f"{status.status}{reason}; {counts or 'no trials yet'}", *filter(None, [spent, left])]
    body = "".join(f"<p>{_escaped(line)}</p>" for line in lines)
    return f"<div><strong>{_escaped(status.name)}</strong>{body}{_live_table(status.live, status.unit)}</div>"


def _live_table(live: Iterable[LiveTrial], unit: str) -> str:
    """Return the running trials as a table: how far each is since its last report."""
    rows = "".join(
        f"<tr><td>{one.trial}</td><td>{_escaped(sentence(one, unit))}</td><td>{_escaped(remaining(one))}</td></tr>"
        for one in live
    )
    head = '<th scope="col">running</th><th scope="col">now</th><th scope="col">left</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""


class Display:
    """Show a running sweep under its notebook cell, and between two events how far the running trials are.

    An error while drawing ends the display only, never the sweep.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._handle: Any = None
        self._next = 0.0
        self._state: SweepState | None = None
        self._forecast = Forecast(run.journal)
        self._drawing = threading.Lock()
        self._ended = threading.Event()
        self._phases = Startup(run)

    def __enter__(self) -> Display:
        with contextlib.suppress(Exception):
            self._handle = _display(f"<p>{_escaped(self._run.name)}: checking the sweep …</p>")
        threading.Thread(target=self._draw_live, name="display", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._phases.close()
        if self._state:
            self._draw(self._state)

    def phase(self, name: str) -> None:
        """Show that a phase of the start begins."""
        self._phases.phase(name)
        with contextlib.suppress(Exception):
            if self._handle and self._state is None:
                self._handle.update(_html(f"<p>{_escaped(self._run.name)}: {phases_text(self._phases.phases)} …</p>"))

    def __call__(self, state: SweepState, event: Event) -> None:
        """Take an event of the running sweep."""
        if event.type == "segment.reported":
            self._phases.finish()
        self._state = state
        if time.monotonic() >= self._next:
            self._draw(state)

    def show(self, state: SweepState) -> str:
        """Show a state that was read; return the sweep's status."""
        self._state = state
        self._draw(state)
        return state.status

    def _draw_live(self) -> None:
        while not self._ended.wait(_LIVE_INTERVAL):
            if self._state and time.monotonic() >= self._next + _LIVE_INTERVAL - _INTERVAL:
                self._draw(self._state)

    def _draw(self, state: SweepState) -> None:
        started = time.monotonic()
        with self._drawing:
            try:
                if self._handle:
                    self._handle.update(_html(self._progress(state)))
            except RuntimeError:  # the sweep has added a trial during an iteration: the next drawing shows it
                pass
            except Exception:
                self._handle = None
        self._next = time.monotonic() + max(_INTERVAL, 20 * (time.monotonic() - started))

    def _progress(self, state: SweepState) -> str:
        total = state.spec["budget"].get("trials")
        done = state.ended
        bar = f'<progress max="{total}" value="{done}" aria-label="trials that ended"></progress> ' if total else ""
        live = _live_table(live_trials(self._run, state).values(), state.unit)
        left = left_text(self._forecast.time_left(state)) if state.status == "running" else ""
        text = _escaped(f"{summary(self._run, state, total)}{left and ', '}{left}")
        return f"<div>{bar}{text}{live}{_table(self._run, state, 5)}</div>"


def follow(run: RunDirectory, every: float) -> None:
    """Show a sweep that another process runs until it does not run any more: under the notebook cell, or on stderr.

    An interrupt ends the display; the sweep continues.

    Args:
        run: the sweep's.
        every: seconds between two looks at the journal.

    Raises:
        JournalError: The journal is damaged.
    """
    display = Display(run) if _in_notebook() else Progress(run)
    with contextlib.suppress(KeyboardInterrupt), display:
        while display.show(read_state(run)) == "running":
            time.sleep(every)


def _html(text: str) -> Any:
    from IPython import display

    html_class: Any = display.HTML
    return html_class(text)


def _display(text: str) -> Any:
    """Show HTML under the cell and return the handle that updates it."""
    from IPython import display

    show_html: Any = display.display
    return show_html(_html(text), display_id=True)


@contextlib.contextmanager
def progress_observer(run: RunDirectory, progress: bool | None) -> Iterator[Display | Progress | None]:
    """Yield the observer that shows a sweep launched from Python, or None.

    In Jupyter it draws under the cell, and in a terminal it is the live table of the command line. Elsewhere there is
    none if ``progress`` is None, which keeps a script's log clean, and one line for each ended trial if it is True.
    With ``progress`` False there is none anywhere.
    """
    if progress is False:
        yield None
    elif _in_notebook():
        with Display(run) as display:
            yield display
    elif progress or sys.stderr.isatty():
        with Progress(run) as observer:
            yield observer
    else:
        yield None


def _in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel, without importing IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
