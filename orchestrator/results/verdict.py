"""Sentences about a sweep's outcome: the winner, its confirmation, the test set and the cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table

from orchestrator.progress import COUNTER, SECONDS, counted, figure, percent, place, span
from orchestrator.results.early_stops import count_stopped_early
from orchestrator.results.failure_groups import cost
from orchestrator.results.per_state import best_trial
from orchestrator.results.terminal_tables import duration
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.state import SweepState, Trial

_ALONE = "the only finalist, compared with no other"


def finalist_table(confirmation: Mapping[str, Any]) -> Table:
    """Return one row a finalist, best first: its value in the search and its fresh trainings."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    interval = f"{confirmation['level']:.0%} interval"
    for title in ("finalist", "in the search", "fresh mean", interval, "n", "failed", "is best"):
        table.add_column(title, justify="left" if title == "finalist" else "right", no_wrap=True)
    for row in confirmation["table"]:
        values = (show(row["searched"]), show(row["mean"]) if row["mean"] is not None else "–", interval_of(row))
        counts = (str(len(row["values"])), str(row["failed"] or "–"))
        table.add_row(
            f"trial {row['configuration']}",
            *values,
            *counts,
            percent(row["probability"], "") if _compared(confirmation) else "–",
        )
    return table


def sentences(confirmation: Mapping[str, Any], metric: str) -> list[str]:
    """Return the winner, its probability of being the best, and how optimistic the search's value was."""
    first, chance = confirmation["table"][0], confirmation["table"][0]["probability"]
    number, trainings = first["configuration"], len(first["values"])
    certainty = "confirmed" if confirmation["clear"] else f"not clear yet, {confirmation['confidence']:.0%} is required"
    rank = f"the best with probability {percent(chance, '')} ({certainty})" if _compared(confirmation) else _ALONE
    lines = [
        f"winner: the parameters of trial {number}, {rank}: "
        f"{metric} {show(first['mean'])} over {counted(trainings, 'fresh training')}, "
        f"{confirmation['level']:.0%} interval {interval_of(first)}"
    ]
    leader = best_of_search(confirmation)
    if confirmation["optimism"] is not None and leader["mean"] is not None:
        optimism = confirmation["optimism"]
        is_equal = abs(optimism) <= 1e-12 * abs(leader["mean"])  # the mean of equal values is rounded
        difference = "equal to" if is_equal else f"{show(abs(optimism))} {'better' if optimism > 0 else 'worse'} than"
        lines.append(
            f"the best value of the search, {show(leader['searched'])} of trial {leader['configuration']}, was "
            f"{difference} the mean of that trial's fresh trainings"
        )
    return lines


def _compared(confirmation: Mapping[str, Any]) -> bool:
    """Return whether there were several finalists: of one alone a probability to be the best says nothing."""
    return len(confirmation["table"]) > 1


def best_of_search(confirmation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row of the finalist that led the search."""
    first = confirmation["first"]
    return next(row for row in confirmation["table"] if row["configuration"] == first)


def interval_of(row: Mapping[str, Any]) -> str:
    """Return the interval as text, ``0.961 to 0.973``, with a question mark for an unknown end."""
    low, high = (show(row[end]) if row[end] is not None else "?" for end in ("low", "high"))
    return f"{low} to {high}"


def evaluations_on_test_set(state: SweepState) -> list[str]:
    """Return one sentence for each evaluation on the test set, in order."""
    return [_test_evaluation(look) for look in state.test_evaluations]


def _test_evaluation(look: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(look["time"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    metrics = ", ".join(f"{name} {show(value)}" for name, value in (look["metrics"] or {}).items())
    return f"test set evaluation {look['look']}, {when}: {evaluated(look)}: {metrics or 'interrupted'}"


def evaluated(look: Mapping[str, Any]) -> str:
    """Return which checkpoint was evaluated on the test set."""
    progress, unit = look.get("progress"), look.get("unit")
    if isinstance(unit, str) and isinstance(progress, int | float) and math.isfinite(progress):
        at = place(progress, unit)
    else:
        at = f"epoch {look['epoch']}"
    return f"trial {look['trial']} of {look['run']}, {at}"


def verdict(run: RunDirectory, state: SweepState) -> list[str]:
    """Return plain sentences: the winner, its confirmation, the test result and the cost.

    Control characters are escaped; nothing is escaped for HTML, Markdown or a terminal.
    """
    parts = [*_status(state), *_winner(state), *_objectives(state), _certainty(state), *_tested(state), _cost(state)]
    return [visible(sentence) for sentence in parts if sentence]


def _status(state: SweepState) -> list[str]:
    """Return a sentence about a sweep that has not ended, else nothing."""
    notices = {
        "running": "The sweep is still running, and these numbers may change.",
        "interrupted": "The sweep was interrupted; `sweep resume` continues it.",
        "paused": f"The sweep is paused ({state.reason}); `sweep resume` continues it.",
    }
    return [notices[state.status]] if state.status in notices else []


def _winner(state: SweepState) -> list[str]:
    metric = state.objective.metric
    if state.confirmation:
        first = state.confirmation["table"][0]
        won = state.trials.get(first["configuration"])
        params = _listed(won.params) if won else "its parameters"
        return [
            f"Trial {first['configuration']} won: {metric} {show(first['mean'])} on average over "
            f"{counted(len(first['values']), 'fresh training')}, with {params}."
        ]
    won = best_trial(state)
    best = state.objective.best(won) if won else None
    if won is None or best is None:
        return [f"No trial has a finite {metric}{state.objective.within}."]
    params = _listed(won.params_at(best.progress))
    at = place(best.progress, state.unit)
    among = f" {of_configuration(state, won)}" if state.repeated else ""
    return [f"Trial {won.number} is the best{among}: {metric} {show(best.value)} at {at}, with {params}."]


def of_configuration(state: SweepState, trial: Trial) -> str:
    """Return whose best trial it is if configurations are ranked: ``of the best configuration (mean 0.54, n = 3)``."""
    group = state.configuration(trial.number)
    return f"of the best configuration (mean {show(group.mean)}, n = {len(group.values)})"


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in params.items()) or "no parameters"


def _objectives(state: SweepState) -> list[str]:
    if not state.objective.also:
        return []
    metrics = ", ".join(goal.metric for goal in state.objective.also)
    count = len(state.front())
    are = "trial is" if count == 1 else "trials are"
    return [f"{count:,} {are} on the Pareto front of {state.objective.metric} and {metrics}."]


def _certainty(state: SweepState) -> str:
    confirmation = state.confirmation
    if not confirmation:
        return "Not confirmed: this is the best value of the search, which is optimistic." if best_trial(state) else ""
    first = confirmation["table"][0]
    result = "Confirmed" if confirmation["clear"] else f"Not clear yet ({confirmation['confidence']:.0%} is required)"
    if not _compared(confirmation):
        return f"It was {_ALONE}; the {confirmation['level']:.0%} interval of its mean is {interval_of(first)}."
    return (
        f"{result}: it is the best with probability {percent(first['probability'], '')}, and the "
        f"{confirmation['level']:.0%} interval of its mean is {interval_of(first)}."
    )


def _tested(state: SweepState) -> list[str]:
    if not state.test_evaluations:
        return ["The test set was not used."]
    last = evaluations_on_test_set(state)[-1]
    count = len(state.test_evaluations)
    again = "" if count == 1 else f" It was used {count} times, and each use makes its result more optimistic."
    return [f"{last[0].upper()}{last[1:]}.{again}"]


def _cost(state: SweepState) -> str:
    count = len(state.trials)
    stopped, failed = count_stopped_early(state), state.count("failed")
    of_training = " of training" if state.unit == SECONDS else ""
    parts = [counted(count, "trial"), f"{span(_trained(state), state.unit)}{of_training}"]
    time = f"{duration(state.active_seconds)}, {duration(state.trial_seconds)} summed over trials"
    early = f"; {stopped / state.ended:.0%} of those that ended were stopped early" if stopped else ""
    taken = cost(state)
    lost = f"; {failed} failed" if failed else ""
    lost += f"; failed segments took {taken}" if taken else ""
    return f"The sweep took {' and '.join(parts)} in {time}{early}{lost}{_price(state)}."


def trained(state: SweepState) -> str:
    """Return how much was trained in the sweep's unit, what was repeated included, without the unit's name."""
    amount = _trained(state)
    return f"{amount:,}" if isinstance(amount, int) and state.unit != SECONDS else figure(amount, state.unit)


def _trained(state: SweepState) -> float:
    """Return the same as a number. A counter is summed over the trials, since only they say what it counts."""
    if state.unit.startswith(COUNTER):
        return sum(trial.progress for trial in state.trials.values())
    return state.trained[state.unit]


def _price(state: SweepState) -> str:
    """Return the cost of the trials' time, if the spec gives a price an hour."""
    price = (state.spec.get("resources") or {}).get("price")
    return f"; a cost of {show(price * state.trial_seconds / 3600)}" if price else ""
