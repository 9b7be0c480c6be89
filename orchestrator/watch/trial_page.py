"""One trial in full: its story, its parameters, its metrics, its failures."""

from __future__ import annotations

import math

from rich.text import Text

from orchestrator.results.why import show, why
from orchestrator.safe_text import visible
from orchestrator.state import SweepState, Trial
from orchestrator.watch.sparkline import sparkline

_EPOCHS = 12


def story(state: SweepState, number: int, width: int) -> Text:
    """Everything that the journal has of a trial, for a page of that width."""
    trial, text = state.trials[number], Text()
    text.append(f"trial {number}  ", "bold").append(trial.status.replace("_", " ") + "\n")
    _heading(text, "WHY")
    for sentence in why(state, number):
        text.append(f"{visible(sentence)}\n")
    _heading(text, "PARAMETERS")
    longest = max((len(visible(name)) for name in trial.params), default=0)
    for name, value in trial.params.items():
        text.append(f"{visible(name):<{longest}}  ").append(f"{visible(show(value))}\n", "bold")
    _metrics(text, state, trial, width)
    if trial.failures:
        _heading(text, "FAILURES")
    for failure in trial.failures:
        text.append(f"segment {failure.segment}, after epoch {failure.epoch}: {visible(failure.kind)}", "red")
        text.append(f" on {visible(failure.node)}: {visible(failure.message)}\n")
    return text


def _heading(text: Text, title: str) -> None:
    text.append(f"\n{title}\n", "bold")


def _metrics(text: Text, state: SweepState, trial: Trial, width: int) -> None:
    """Each metric with its curve, its value at the best epoch and its last; then the last epochs of the objective."""
    best = state.objective.best(trial)
    names = sorted({name for report in trial.reports.values() for name in report.metrics})
    longest = min(max(map(len, map(visible, names)), default=0), 30)
    _heading(text, "METRICS" + (f"  at the best epoch, {best.epoch}, and at the last, {trial.epoch}" if best else ""))
    for name in names:
        values = [trial.value(epoch, name) for epoch in range(1, trial.epoch + 1)]
        at_best = show(trial.value(best.epoch, name)) if best else "–"
        style = "bold" if name == state.objective.metric else ""
        text.append(f"{visible(name)[:longest]:<{longest}}  {at_best:>10} {show(values[-1]):>10}  ", style)
        text.append(sparkline(values, max(8, min(50, width - longest - 28)), trial.epoch) + "\n")
    told = [(epoch, trial.value(epoch, state.objective.metric)) for epoch in sorted(trial.reports)[-_EPOCHS:]]
    if told:
        values_told = "  ".join(f"{epoch}: {show(value) if not math.isnan(value) else 'nan'}" for epoch, value in told)
        text.append(f"{visible(state.objective.metric)} by epoch  {values_told}\n", "dim")
