"""The lines above the table: how far the sweep is, what is best, what was spent, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from orchestrator.results.terminal_tables import COLOURS, duration, short_names, spending
from orchestrator.results.verdict import sentences
from orchestrator.results.why import show
from orchestrator.safe_text import visible
from orchestrator.state import SweepState
from orchestrator.watch.panel import rungs_line, workers_line
from orchestrator.watch.watch_rows import Rows
from orchestrator.watch.watched_sweep import Watched

_SWEEP = {"running": "bold cyan", "completed": "bold green", "paused": "bold yellow", "interrupted": "bold magenta"}
_ENDED = {
    "completed": "the sweep has ended",
    "paused": "nobody runs it; sweep resume goes on",
    "interrupted": "its process is gone; sweep resume goes on",
}


def head(watched: Watched, rows: Rows, width: int, *, narrow: bool) -> list[Text]:
    """So many lines as there are things to say; each is cut at ``width`` by who shows it."""
    state = watched.state
    if not state.spec:
        return [Text.assemble((watched.run.name, "bold"), "  ", watched.trouble or "nothing is on record yet")]
    lines = [_first(watched), _bar(watched, width), _counts(watched), _best(watched, rows)]
    if narrow:
        lines += [
            Text("workers  ").append_text(workers_line(state)),
            Text("rungs    ").append_text(rungs_line(state, rows)),
        ]
    return lines + _confirmed(state)


def _first(watched: Watched) -> Text:
    state = watched.state
    reason = f" ({visible(state.reason)})" if state.reason else ""
    said = _ENDED.get(state.status)
    status = (state.status + reason, _SWEEP.get(state.status, ""))
    return Text.assemble((watched.run.name, "bold"), "  ", status, f"; {said}" if said else "")


def _bar(watched: Watched, width: int) -> Text:
    found = progress(watched.state, watched.spent())
    total = watched.state.spec["budget"].get("trials")
    done = watched.state.count("finished", "stopped", "failed")
    said = f" {done} of {total} trials ended" if total else f" {done} trials ended"
    said += f", about {duration(found.left)} left" if found.left is not None else ""
    room = max(10, width - len(said) - 8)
    if found.share is None:
        return Text(said.lstrip() + ", no limit on how much")
    full = int(found.share * room)
    return Text.assemble(("━" * full, "bold green"), ("─" * (room - full), "dim"), f" {found.share:4.0%}", said)


def _counts(watched: Watched) -> Text:
    state, text = watched.state, Text()
    for status, style in COLOURS.items():
        if count := state.count(status):
            text.append(" · " if text else "").append(f"{count} {status.replace('_', ' ')}", style)
    spent = spending(state.spec["budget"], watched.spent()) or f"spent: {duration(state.active_seconds)}"
    return text.append("   " if text else "").append(spent)


def _best(watched: Watched, rows: Rows) -> Text:
    """The leader and its parameters; where configurations are repeated, the one of the best configuration."""
    objective, found = watched.state.objective, rows.first
    if found is None:
        return Text(f"best     no trial has a finite {visible(objective.metric)} yet")
    names = short_names(list(found.params))
    told = ", ".join(
        f"{visible(name)} {visible(show(value))}" for name, value in zip(names, found.params.values(), strict=True)
    )
    value = f"{visible(objective.metric)} {show(found.best)}"
    return Text.assemble("best     ", (value, "bold green"), f" trial {found.trial}, epoch {found.epoch}: {told}")


def _confirmed(state: SweepState) -> list[Text]:
    if not state.confirmation:
        return []
    return [Text(visible(sentences(state.confirmation, state.objective.metric)[0]), "bold")]


@dataclass(frozen=True)
class Progress:
    """``share`` of what ends the sweep first, from 0 to 1; ``left`` in seconds. None where nobody can know."""

    share: float | None
    left: float | None


def progress(state: SweepState, spent: Mapping[str, float]) -> Progress:
    """By whichever budget is nearest to its end, at the pace so far.

    Of trials those count that have ended or were set aside: most of the latter go no further.
    """
    if state.status == "completed":
        return Progress(1.0, None)
    budget = state.spec["budget"]
    done = {**spent, "trials": state.count("finished", "stopped", "failed", "set_aside")}
    limits = {key: budget.get(key) for key in ("trials", "epochs", "wall_clock", "gpu_hours", "cost")}
    reserve = budget.get("reserve") or 0.0
    shares = [
        min(1.0, done[key] / (limit * (1.0 if key in ("trials", "wall_clock") else 1.0 - reserve)))
        for key, limit in limits.items()
        if limit and key in done
    ]
    share = max(shares, default=None)
    if not share or state.status != "running":
        return Progress(share, None)
    left = state.active_seconds * (1.0 - share) / share
    if budget.get("wall_clock"):
        left = min(left, max(0.0, budget["wall_clock"] - state.active_seconds))
    return Progress(share, left)
