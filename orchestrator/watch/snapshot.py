"""What `sweep watch` prints where there is no screen: how the sweep stands now, once."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.results.terminal_tables import ranking
from orchestrator.results.trial_rows import rows
from orchestrator.safe_text import visible
from orchestrator.watch import header as heads
from orchestrator.watch.panel import rungs_line, workers_line
from orchestrator.watch.watch_rows import Rows
from orchestrator.watch.watched_sweep import Watched

_LINES = 20
_WITHOUT_SCREEN = frozenset({"", "dumb", "unknown", "vt52", "vt100", "vt102", "vt220"})


def why_no_screen(environment: Mapping[str, str], *, terminal: bool) -> str | None:
    """Why nothing is drawn on the whole screen; empty where that is no surprise, None where it can be drawn."""
    if not terminal:
        return ""
    kind = environment.get("TERM", "")
    if kind in _WITHOUT_SCREEN:
        told = f"TERM={kind}" if kind else "TERM is not set: this"
        return f"{told} is no terminal that can be drawn on; this is how the sweep stands now"
    return None


def snapshot(watched: Watched, width: int) -> RenderableType:
    """As `sweep status` says it, with workers, rungs and the first of the ranking, in ``width`` characters."""
    state = watched.state
    table = Rows()
    table.update(state, None)
    lines: list[RenderableType] = list(heads.head(watched, table, 80, narrow=False))
    if not state.spec:
        return Group(*lines)
    lines += [
        Text("workers  ").append_text(workers_line(state)),
        Text("rungs    ").append_text(rungs_line(state, table)),
    ]
    if watched.trouble:
        lines.append(Text(visible(watched.trouble)))
    found = rows(watched.run, state)
    return Group(*lines, ranking(found, visible(state.objective.metric), limit=_LINES, width=width))


def show(watched: Watched) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(snapshot(watched, console.width), soft_wrap=True)
