"""What a sweep has come to, in a few plain sentences: the first thing that a report says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table

from orchestrator.results.terminal_tables import duration
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.state import SweepState


def finalists(confirmation: Mapping[str, Any]) -> Table:
    """A row a finalist, best first: what the search said of it, and what its fresh trainings came to."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    interval = f"{confirmation['level']:.0%} interval"
    for title in ("finalist", "in the search", "fresh mean", interval, "n", "failed", "is best"):
        table.add_column(title, justify="left" if title == "finalist" else "right", no_wrap=True)
    for row in confirmation["table"]:
        values = (show(row["searched"]), show(row["mean"]) if row["mean"] is not None else "–", interval_of(row))
        counts = (str(len(row["values"])), str(row["failed"] or "–"))
        table.add_row(f"trial {row['configuration']}", *values, *counts, f"{row['probability']:.0%}")
    return table


def sentences(confirmation: Mapping[str, Any], metric: str) -> list[str]:
    """The winner, how sure that is, and how flattering the search's own number was."""
    first, chance = confirmation["table"][0], confirmation["table"][0]["probability"]
    number, trainings = first["configuration"], len(first["values"])
    sure = "confirmed" if confirmation["clear"] else f"not clear yet, {confirmation['confidence']:.0%} was wanted"
    lines = [
        f"winner: the parameters of trial {number}, the best with probability {chance:.0%} ({sure}): "
        f"{metric} {show(first['mean'])} over {trainings} fresh trainings, "
        f"{confirmation['level']:.0%} interval {interval_of(first)}"
    ]
    leader = searched_best(confirmation)
    if confirmation["optimism"] is not None and leader["mean"] is not None:
        by = confirmation["optimism"]
        lines.append(
            f"the search's own best number, {show(leader['searched'])} of trial {leader['configuration']}, was "
            f"{show(abs(by))} {'better' if by >= 0 else 'worse'} than the mean of that one's fresh trainings"
        )
    return lines


def searched_best(confirmation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the finalist that was the first in the search."""
    first = confirmation["first"]
    return next(row for row in confirmation["table"] if row["configuration"] == first)


def interval_of(row: Mapping[str, Any]) -> str:
    """``0.961 to 0.973``; an end that is not known is a question mark."""
    low, high = (show(row[end]) if row[end] is not None else "?" for end in ("low", "high"))
    return f"{low} to {high}"


def looks(state: SweepState) -> list[str]:
    """One sentence for each look at the test set so far."""
    return [_look(look) for look in state.test_evaluations]


def _look(look: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(look["time"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    seen = ", ".join(f"{name} {show(value)}" for name, value in (look["metrics"] or {}).items())
    whose = f"trial {look['trial']} of {look['run']}, epoch {look['epoch']}"
    return f"look {look['look']} at the test set, {when}: {whose}: {seen or 'it was cut off'}"


def verdict(run: RunDirectory, state: SweepState) -> list[str]:
    """Plain text, a sentence each: the winner, how sure that is, what the test set said, and what it has cost.

    Control characters are written out; nothing is escaped for HTML, Markdown or a terminal.
    """
    said = [*_status(state), *_winner(state), *_several(state), _sure(state), *_tested(state), _cost(state)]
    return [visible(sentence) for sentence in said if sentence]


def _status(state: SweepState) -> list[str]:
    """Nothing of a sweep that has come to its end."""
    told = {
        "running": "The sweep is still running: all of this may change.",
        "interrupted": "The sweep was cut off; `sweep resume` goes on with it.",
        "paused": f"The sweep is paused ({state.reason}); `sweep resume` goes on with it.",
    }
    return [told[state.status]] if state.status in told else []


def _winner(state: SweepState) -> list[str]:
    metric = state.objective.metric
    if state.confirmation:
        first = state.confirmation["table"][0]
        won = state.trials.get(first["configuration"])
        params = _listed(won.params) if won else "its parameters"
        return [
            f"Trial {first['configuration']} won: {metric} {show(first['mean'])} on average over "
            f"{len(first['values'])} fresh trainings, with {params}."
        ]
    won = state.winner()
    best = state.objective.best(won) if won else None
    if won is None or best is None:
        within = " within the constraints" if state.objective.constraints else ""
        return [f"No trial has a finite {metric}{within}."]
    params = _listed(won.params_at(best.epoch))
    return [f"Trial {won.number} is the best: {metric} {show(best.value)} at epoch {best.epoch}, with {params}."]


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in params.items()) or "no parameters"


def _several(state: SweepState) -> list[str]:
    if not state.objective.also:
        return []
    others = ", ".join(goal.metric for goal in state.objective.also)
    return [f"With {others} there are several objectives: {len(state.front())} trials are on the Pareto front."]


def _sure(state: SweepState) -> str:
    found = state.confirmation
    if not found:
        return "Not confirmed: this is the search's own number, which flatters." if state.winner() else ""
    first = found["table"][0]
    how = "Confirmed" if found["clear"] else f"Not clear yet ({found['confidence']:.0%} was wanted)"
    return (
        f"{how}: it is the best with probability {first['probability']:.0%}, and the {found['level']:.0%} interval of "
        f"its mean is {interval_of(first)}."
    )


def _tested(state: SweepState) -> list[str]:
    if not state.test_evaluations:
        return ["The test set was not looked at."]
    last = looks(state)[-1]
    count = len(state.test_evaluations)
    again = "" if count == 1 else f" It was looked at {count} times, and each look makes its number less honest."
    return [f"{last[0].upper()}{last[1:]}.{again}"]


def _cost(state: SweepState) -> str:
    count, ended = len(state.trials), state.count("finished", "stopped")
    stopped, failed = state.count("stopped"), state.count("failed")
    parts = [f"{count} trial{'' if count == 1 else 's'}", f"{state.epochs} epoch{'' if state.epochs == 1 else 's'}"]
    time = f"{duration(state.active_seconds)}, {duration(state.trial_seconds)} of trials together"
    early = f"; {stopped / ended:.0%} of those that ended were stopped early" if stopped else ""
    lost = f"; {failed} failed" if failed else ""
    return f"It took {' and '.join(parts)} in {time}{early}{lost}{_price(state)}."


def _price(state: SweepState) -> str:
    """The cost of the trials' time, where the spec gives a price an hour."""
    price = (state.spec.get("resources") or {}).get("price")
    return f"; a cost of {show(price * state.trial_seconds / 3600)}" if price else ""
