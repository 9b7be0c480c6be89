"""The lines above the table: status, progress, best trial, spent budget."""

from __future__ import annotations

from rich.text import Text

from orchestrator.progress import counted, place
from orchestrator.results.ranked_rows import Rows
from orchestrator.results.terminal_graphics import bar
from orchestrator.results.terminal_tables import COLOURS, duration, left_text, short_names, spending
from orchestrator.results.verdict import sentences
from orchestrator.results.why import show
from orchestrator.rundir.startup import phases_text
from orchestrator.safe_text import visible
from orchestrator.state import SweepState
from orchestrator.watch.panel import live_text, rungs_line, workers_line
from orchestrator.watch.watched_sweep import Watched

_SWEEP = {"running": "bold cyan", "completed": "bold green", "paused": "bold yellow", "interrupted": "bold magenta"}
_MAX_LIVE = 4  # running trials with a line in a narrow terminal
_ENDED = {
    "completed": "the sweep has ended",
    "paused": "no process runs it; sweep resume continues it",
    "interrupted": "its process died; sweep resume continues it",
}


def header_lines(watched: Watched, rows: Rows, width: int, *, narrow: bool) -> list[Text]:
    """Return the lines of the header; the caller cuts each at ``width``."""
    state = watched.state
    if not state.spec:
        said = f"starting: {phases_text(watched.starting)}" if watched.starting else "the journal is still empty"
        return [Text.assemble((watched.run.name, "bold"), "  ", watched.problem or said)]
    lines = [_first(watched), *_start(watched), _bar(watched, width), _counts(watched), _best(watched, rows)]
    if narrow:
        lines += [
            Text("workers  ").append_text(workers_line(state)),
            Text("rungs    ").append_text(rungs_line(state, rows)),
            *live_text(watched.live, state, _MAX_LIVE),
        ]
    return lines + _confirmed(state)


def _start(watched: Watched) -> list[Text]:
    """Return the line of a start that goes on, until the first report."""
    return [Text(f"starting: {visible(phases_text(watched.starting))}", "dim")] if watched.starting else []


def _first(watched: Watched) -> Text:
    state = watched.state
    reason = f" ({visible(state.reason)})" if state.reason else ""
    explanation = _ENDED.get(state.status)
    status = (state.status + reason, _SWEEP.get(state.status, ""))
    return Text.assemble((watched.run.name, "bold"), "  ", status, f"; {explanation}" if explanation else "")


def _bar(watched: Watched, width: int) -> Text:
    estimate = watched.time_left()
    total = watched.state.spec["budget"].get("trials")
    done = watched.state.ended
    text = f" {done:,} of {counted(total, 'trial')} ended" if total else f" {counted(done, 'trial')} ended"
    left = left_text(estimate) if watched.state.status == "running" else ""
    text += f", {left}" if left else ""
    length = max(10, width - len(text) - 8)
    if estimate.share is None:
        return Text(text.lstrip() + ", with no estimate yet")
    return Text.assemble(bar(estimate.share, length), f" {estimate.share:4.0%}", text)


def _counts(watched: Watched) -> Text:
    state, text = watched.state, Text()
    for status, style in COLOURS.items():
        if count := state.count(status):
            text.append(" · " if text else "").append(f"{count} {status.replace('_', ' ')}", style)
    spent = spending(state.spec["budget"], watched.spent()) or f"spent: {duration(state.active_seconds)}"
    return text.append("   " if text else "").append(spent)


def _best(watched: Watched, rows: Rows) -> Text:
    """Return the best trial and its parameters; with several seeds that of the best configuration."""
    objective, leader = watched.state.objective, rows.first
    if leader is None:
        return Text(f"best     {_none_yet(watched.state)}")
    names = short_names(list(leader.params))
    params = ", ".join(
        f"{visible(name)} {visible(show(value))}" for name, value in zip(names, leader.params.values(), strict=True)
    )
    value, at = f"{visible(objective.metric)} {show(leader.best)}", place(leader.at, watched.state.unit)
    return Text.assemble("best     ", (value, "bold green"), f" trial {leader.trial}, {at}: {params}")


def _none_yet(state: SweepState) -> str:
    yet = "" if state.status == "completed" else " yet"
    return f"no trial has a finite {visible(state.objective.metric)}{state.objective.within}{yet}"


def _confirmed(state: SweepState) -> list[Text]:
    if not state.confirmation:
        return []
    return [Text(visible(sentences(state.confirmation, state.objective.metric)[0]), "bold")]
