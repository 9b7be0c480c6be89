"""Print the status of a sweep once, for terminals without a full screen."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.results.ranked_rows import Rows
from orchestrator.results.terminal_tables import ranking
from orchestrator.results.trial_rows import rows
from orchestrator.safe_text import visible
from orchestrator.watch.header import header_lines
from orchestrator.watch.panel import live_text, rungs_line, workers_line
from orchestrator.watch.watched_sweep import Watched

_LINES = 20
_WITHOUT_SCREEN = frozenset({"", "dumb", "unknown", "vt52", "vt100", "vt102", "vt220"})


def why_no_screen(environment: Mapping[str, str], *, terminal: bool) -> str | None:
    """Return why the full screen cannot be used: empty if output is no terminal, None if it can be used."""
    if not terminal:
        return ""
    kind = environment.get("TERM", "")
    if kind in _WITHOUT_SCREEN:
        terminal_type = f"TERM={kind}" if kind else "TERM is not set, so this"
        return f"{terminal_type} is no terminal for a full screen; the status is printed once"
    return None


def snapshot(watched: Watched, width: int) -> RenderableType:
    """Return the header, workers, rungs and the top of the ranking, in ``width`` characters."""
    state = watched.state
    table = Rows()
    table.update(state, None)
    lines: list[RenderableType] = list(header_lines(watched, table, 80, narrow=False))
    if not state.spec:
        return Group(*lines)
    lines += [
        Text("workers  ").append_text(workers_line(state)),
        Text("rungs    ").append_text(rungs_line(state, table)),
        *live_text(watched.live, state, _LINES),
    ]
    if watched.problem:
        lines.append(Text(visible(watched.problem)))
    ranked = rows(watched.run, state)
    return Group(*lines, ranking(ranked, visible(state.objective.metric), limit=_LINES, width=width, unit=state.unit))


def show(watched: Watched) -> None:
    """Print the snapshot."""
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(snapshot(watched, console.width), soft_wrap=True)
