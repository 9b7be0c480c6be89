"""Measured seconds of each kind of step of a sweep: of a segment's start, and of one unit of progress."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median

from orchestrator.state import Report, SweepState, Trial

_MOST_RATES = 200  # latest trials whose speed counts for new ones


@dataclass(frozen=True)
class Speed:
    """Measured seconds of each kind of step.

    Attributes:
        startup: of a segment before it trains.
        rates: for one unit of progress, by trial.
        usual: for one unit of progress, of a new trial.
        step: the progress from one report to the next, by trial.
    """

    startup: float
    rates: dict[int, float]
    usual: float
    step: dict[int, float] = field(default_factory=dict)


def speed(state: SweepState) -> Speed | None:
    """Return the measured seconds of each kind of step; None before the first report."""
    rates: dict[int, float] = {}
    step: dict[int, float] = {}
    first_steps: list[tuple[int, float, float]] = []  # trial, progress, seconds: the start of a segment included
    for number, trial in state.trials.items():
        trained = taken = 0.0
        for (earlier, before), (later, after) in pairwise(_reports(trial)):
            step[number] = later - earlier
            if before.segment == after.segment:
                trained, taken = trained + later - earlier, taken + after.steady_time - before.steady_time
            else:
                first_steps += _first_step(trial, after.segment, later - earlier, after.steady_time)
        if trained > 0:
            rates[number] = taken / trained
        for at, report in _reports(trial)[:1]:
            step.setdefault(number, at)
            first_steps += _first_step(trial, report.segment, at, report.steady_time)
    starts = [seconds - rates[number] * trained for number, trained, seconds in first_steps if number in rates]
    startup = max(0.0, median(starts)) if starts else 0.0
    for number, trained, seconds in first_steps:
        rates.setdefault(number, max(0.0, seconds - startup) / trained)
    if not rates:
        return None
    latest = sorted(rates)[-_MOST_RATES:]
    return Speed(startup, rates, mean(rates[number] for number in latest), step)


def _reports(trial: Trial) -> list[tuple[float, Report]]:
    return sorted(trial.reports.items())


def _first_step(trial: Trial, segment: int, trained: float, at: float) -> Iterator[tuple[int, float, float]]:
    started = trial.segment_starts.get(segment)
    if started is not None and trained > 0 and at >= started:
        yield trial.number, trained, at - started
