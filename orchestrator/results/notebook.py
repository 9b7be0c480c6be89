"""A sweep in Jupyter: its results as a cell's output, and its progress while it runs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from html import escape
from types import TracebackType
from typing import Any

from orchestrator.journal import Event
from orchestrator.results.terminal_tables import Progress, short_names, summary
from orchestrator.results.trial_rows import rows
from orchestrator.results.verdict import verdict
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.secrets import redact
from orchestrator.state import SweepState

TOP = 10
_EVERY = 0.5  # seconds between two drawings, or twenty times as long as one takes


def page(run: RunDirectory, state: SweepState) -> str:
    """The verdict and the top of the ranking as HTML. What others wrote is escaped."""
    said = "".join(f"<li>{_inert(redact(sentence))}</li>" for sentence in verdict(run, state))
    return f"<div><strong>{_inert(run.name)}</strong><ul>{said}</ul>{_table(run, state, TOP)}</div>"


def _table(run: RunDirectory, state: SweepState, most: int) -> str:
    found = rows(run, state)
    shown = found[:most]
    if not shown:
        return ""
    names = list(dict.fromkeys(name for row in shown for name in row["params"]))
    shorts = short_names(names)
    titles = ["rank", "trial", "status", state.objective.metric, "at epoch", "of", *shorts]
    head = "".join(f'<th scope="col">{_inert(title)}</th>' for title in titles)
    body = "".join(_row(row, names) for row in shown)
    more = f"<p>… and {len(found) - len(shown)} more</p>" if len(found) > len(shown) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(row: dict[str, Any], names: list[str]) -> str:
    status = row["status"].replace("_", " ")
    known = [row["rank"], row["trial"], status, row["best"], row["epoch"], row["epochs"]]
    cells = [*known, *(row["params"].get(name) for name in names)]
    shown = (_inert(show(cell)) if cell is not None else "–" for cell in cells)
    return f"<tr>{''.join(f'<td>{text}</td>' for text in shown)}</tr>"


def _inert(text: object) -> str:
    return escape(visible(str(text)))


class Display:
    """Shows a sweep under the cell that runs it, drawn anew as it goes on. Whatever fails here ends only this."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._handle: Any = None
        self._next = 0.0
        self._state: SweepState | None = None

    def __enter__(self) -> Display:
        with contextlib.suppress(Exception):
            self._handle = _shown(f"<p>{_inert(self._run.name)}: checking the sweep …</p>")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._state:
            self._draw(self._state)

    def __call__(self, state: SweepState, event: Event) -> None:
        """The observer of a live sweep."""
        self._state = state
        if time.monotonic() >= self._next:
            self._draw(state)

    def _draw(self, state: SweepState) -> None:
        began = time.monotonic()
        try:
            if self._handle:
                self._handle.update(_html(self._progress(state)))
        except Exception:
            self._handle = None
        self._next = time.monotonic() + max(_EVERY, 20 * (time.monotonic() - began))

    def _progress(self, state: SweepState) -> str:
        total = state.spec["budget"].get("trials")
        done = state.count("finished", "stopped", "failed")
        bar = f'<progress max="{total}" value="{done}" aria-label="trials that ended"></progress> ' if total else ""
        return f"<div>{bar}{_inert(summary(self._run, state, total))}{_table(self._run, state, 5)}</div>"


def _html(text: str) -> Any:
    from IPython import display

    made: Any = display.HTML
    return made(text)


def _shown(text: str) -> Any:
    """Under the cell, and a handle to change it."""
    from IPython import display

    show: Any = display.display
    return show(_html(text), display_id=True)


@contextlib.contextmanager
def watched(run: RunDirectory, wanted: bool | None) -> Iterator[Display | Progress | None]:
    """The observer that shows a sweep to whoever started it from Python.

    In Jupyter it draws under the cell. In a terminal it is the command's live view. Elsewhere (``wanted`` is None)
    there is none, so that a script's log stays its own; asked for, it is a line for each trial that ends.
    """
    if wanted is False:
        yield None
    elif _in_notebook():
        with Display(run) as display:
            yield display
    elif wanted or sys.stderr.isatty():
        with Progress(run) as progress:
            yield progress
    else:
        yield None


def _in_notebook() -> bool:
    """Whether this process is Jupyter's kernel. IPython is not imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
