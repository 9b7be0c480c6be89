"""Several runs side by side: their winners, their best at equal progress and equal cost, and how their specs differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.codec import display
from orchestrator.policies.finals import LEVEL
from orchestrator.policies.winner_statistics import estimates
from orchestrator.progress import SECONDS, place, span
from orchestrator.rundir import RunDirectory
from orchestrator.state import Report, SweepState, Trial

LEAST, MOST = 2, 20
_UNTOLD = ("name", "seed")  # parts of a spec that always differ, or whose difference says nothing about its design
_LONG = 200  # characters of a value


@dataclass(frozen=True)
class Interval:
    """Where the mean of a winner's further trainings lies, with probability ``level``.

    ``source`` says from what it was computed: ``fresh trainings`` of finals, or ``seeds`` of the search.
    """

    mean: float
    low: float
    high: float
    level: float
    n: int
    source: str


@dataclass(frozen=True)
class Standing:
    """The best value of a run up to a progress, or a cost, and its trial; both None if it has none there."""

    value: float | None = None
    trial: int | None = None


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison.

    Attributes:
        name: of the run.
        run: its directory.
        state: its journal, replayed.
        best: its best value, and the trial.
        interval: of its winner; None if nothing was trained twice.
        at_progress: its best up to the progress that all runs have reached.
        at_training: its best up to the amount of training that all runs have spent.
        at_seconds: the same for seconds of training.
        spent: (cost, best so far) whenever the best got better, and at its end, by amount of training.
    """

    name: str
    run: RunDirectory
    state: SweepState
    best: Standing
    interval: Interval | None
    at_progress: Standing
    at_training: Standing
    at_seconds: Standing
    spent: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """Runs, compared.

    Attributes:
        metric: the objective of the first run; runs with another one are in ``others``.
        mode: ``min`` or ``max``.
        unit: of progress; None if the runs differ in it.
        progress: to which all have come; None if there is none.
        training: what all have spent, in ``unit``.
        seconds: of training that all have spent; None if a journal does not say.
        runs: those that are compared, in the order given.
        others: names of runs with another objective, and that objective.
        differences: path in the spec → the value of each run, as text.
    """

    metric: str
    mode: str
    unit: str | None
    progress: float | None
    training: float | None
    seconds: float | None
    runs: Sequence[ComparedRun]
    others: Mapping[str, str]
    differences: Mapping[str, Sequence[str]]

    @property
    def names(self) -> list[str]:
        """The names of the compared runs."""
        return [each.name for each in self.runs]

    def verdict(self) -> list[str]:
        """Return plain sentences: which run leads, and how sure that is."""
        ranked = ranked_runs(self)
        if not ranked:
            return [f"No run has a finite {self.metric} yet."]
        return [_lead(self, ranked), _certainty(self, ranked), *(_other(*each) for each in self.others.items())]


def compare_runs(several: Sequence[tuple[RunDirectory, SweepState]]) -> Comparison:
    """Return runs compared by the objective of the first."""
    goals = [(state.objective.metric, state.objective.mode) for _, state in several]
    same = [each for each, goal in zip(several, goals, strict=True) if goal == goals[0]]
    others = {
        run.name: f"{metric} ({mode})" for (run, _), (metric, mode) in zip(several, goals, strict=True)
        if (metric, mode) != goals[0]
    }  # fmt: skip
    states = [state for _, state in same]
    units = {state.unit for state in states}
    unit = units.pop() if len(units) == 1 else None
    progress = min((_furthest(state) for state in states), default=0.0) if unit else 0.0
    histories = [_history(state) for state in states]
    training = min((history[-1].training if history else 0.0 for history in histories), default=0.0) if unit else 0.0
    seconds = min((history[-1].seconds if history else 0.0 for history in histories), default=0.0)
    compared = [
        ComparedRun(
            run.name, run, state, _best(state), _interval(state), _best(state, progress) if progress else Standing(),
            _up_to(history, training, "training"), _up_to(history, seconds, "seconds"), _steps(history),
        )
        for (run, state), history in zip(same, histories, strict=True)
    ]  # fmt: skip
    metric, mode = goals[0]
    differences = spec_differences([state.spec for _, state in same])
    # No place is a progress of 0, and no cost one either.
    return Comparison(
        metric, mode, unit, progress or None, training or None, seconds or None, compared, others, differences
    )


def ranked_runs(comparison: Comparison) -> list[ComparedRun]:
    """Return the runs that have a value, best first: by the mean of the winner's interval, else by its value."""
    sign = -1.0 if comparison.mode == "max" else 1.0
    valued = [each for each in comparison.runs if each.best.value is not None]
    return sorted(valued, key=lambda each: sign * _value(each))


def _value(each: ComparedRun) -> float:
    return each.interval.mean if each.interval else each.best.value or 0.0


def _lead(comparison: Comparison, ranked: Sequence[ComparedRun]) -> str:
    from orchestrator.results.why import show

    first = ranked[0]
    equal = [each.name for each in ranked if _value(each) == _value(first)]
    if len(equal) > 1:
        return f"{' and '.join(equal)} are equal: {comparison.metric} {show(_value(first))}."
    if first.interval:
        value = f"{show(first.interval.mean)} on average over {first.interval.n} {first.interval.source}"
    else:
        value = f"{show(first.best.value)} in trial {first.best.trial}"
    return f"{first.name} leads: {comparison.metric} {value}."


def _certainty(comparison: Comparison, ranked: Sequence[ComparedRun]) -> str:
    unsure = [each.name for each in ranked if each.interval is None]
    if unsure:
        return (
            f"Not confirmed: {', '.join(unsure)}. A best value of a search is optimistic, and more so after more "
            "trials; `sweep confirm NAME` trains the winners again."
        )
    if len(ranked) < 2:
        return "No other run has a value."
    first, second = ranked[0].interval, ranked[1].interval
    assert first
    assert second
    apart = first.low > second.high or first.high < second.low
    words = "do not overlap: the difference is clear" if apart else "overlap: the difference is not clear"
    return f"The intervals of {ranked[0].name} and {ranked[1].name} {words}."


def _other(name: str, goal: str) -> str:
    return f"{name} is not compared: its objective is {goal}."


def _furthest(state: SweepState) -> float:
    valued = (trial.progress for trial in state.trials.values() if state.objective.best(trial) is not None)
    return max(valued, default=0.0)


def _best(state: SweepState, upto: float | None = None) -> Standing:
    """Return the best trial up to a progress; failed trials do not count."""
    found = Standing()
    for trial in state.trials.values():
        best = state.objective.best(trial, upto) if trial.status != "failed" else None
        if best and (found.value is None or state.objective.loss(best.value) < state.objective.loss(found.value)):
            found = Standing(best.value, trial.number)
    return found


@dataclass(frozen=True)
class _Step:
    """The best so far, after a report: by how much was trained until then, over all trials."""

    training: float
    seconds: float
    best: Standing


def _history(state: SweepState) -> list[_Step]:
    """Return a step for each report, in the order of time. Trainings that failures have lost are not counted."""
    reports = sorted(
        ((report, trial) for trial in state.trials.values() for report in trial.reports.values()),
        key=lambda each: (each[0].steady_time, each[1].number, each[0].progress),
    )
    before: dict[int, Report] = {}
    training = seconds = 0.0
    best, steps = Standing(), []
    for report, trial in reports:
        earlier = before.get(trial.number)
        training += max(0.0, report.progress - (earlier.progress if earlier else 0.0))
        seconds += max(0.0, report.seconds - (earlier.seconds if earlier else 0.0))
        before[trial.number] = report
        best = _better(state, best, report, trial)
        steps.append(_Step(training, seconds, best))
    return steps


def _better(state: SweepState, best: Standing, report: Report, trial: Trial) -> Standing:
    value = state.objective.value(report.metrics)
    if trial.status == "failed" or not math.isfinite(value):
        return best
    is_better = best.value is None or state.objective.loss(value) < state.objective.loss(best.value)
    return Standing(value, trial.number) if is_better else best


def _up_to(history: Sequence[_Step], cost: float, kind: str) -> Standing:
    within = [step for step in history if getattr(step, kind) <= cost * (1 + 1e-9)] if cost > 0 else []
    return within[-1].best if within else Standing()


def _steps(history: Sequence[_Step]) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    for step in history:
        if step.best.value is not None and (not steps or steps[-1][1] != step.best.value):
            steps.append((step.training, step.best.value))
    if steps:
        steps.append((history[-1].training, steps[-1][1]))
    return steps


def _interval(state: SweepState) -> Interval | None:
    """Return the interval of finals, or of a search with several seeds; None if nothing was trained twice."""
    if state.confirmation:
        row = state.confirmation["table"][0]
        if row["low"] is None or row["high"] is None:
            return None
        level, n = state.confirmation["level"], len(row["values"])
        return Interval(row["mean"], row["low"], row["high"], level, n, "fresh trainings")
    if not state.repeated:
        return None
    loss = state.objective.loss
    configurations = state.configurations()
    computed = estimates([[loss(value) for value in each.values] for each in configurations], LEVEL)
    first = computed[0] if computed else None
    if first is None or not (math.isfinite(first.low) and math.isfinite(first.high)):
        return None
    low, high = sorted((loss(first.low), loss(first.high)))
    return Interval(loss(first.mean), low, high, LEVEL, len(configurations[0].values), "seeds")


def spec_differences(specs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return what differs between specs: the path of each field, and its value in each spec as text."""
    flat = [dict(_fields(spec)) for spec in specs]
    paths = sorted({path for fields in flat for path in fields if path.split(".", 1)[0] not in _UNTOLD})
    rows = {path: [_text(fields[path]) if path in fields else "–" for fields in flat] for path in paths}
    return {path: values for path, values in rows.items() if len(set(values)) > 1}


def _fields(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return each field of nested mappings by its path; a domain of the space is one field, and so is an empty part."""
    if not isinstance(value, Mapping) or not value or path.startswith("space."):
        return [] if value is None else [(path, value)]
    return [field for key, part in value.items() for field in _fields(part, f"{path}.{key}" if path else str(key))]


def _text(value: Any) -> str:
    shown = display(value)
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def rows_of(comparison: Comparison) -> list[tuple[str, list[Standing]]]:
    """Return what is compared at equal terms: its words, and each run's standing."""
    rows = []
    if comparison.progress is not None and comparison.unit:
        words = f"at equal progress: trials up to {place(comparison.progress, comparison.unit)}"
        rows.append((words, [each.at_progress for each in comparison.runs]))
    if comparison.training is not None and comparison.unit:
        words = f"at equal training: {span(comparison.training, comparison.unit)} in all"
        rows.append((words, [each.at_training for each in comparison.runs]))
    if comparison.seconds is not None and comparison.unit != SECONDS:
        words = f"at equal time: {span(comparison.seconds, SECONDS)} of training in all"
        rows.append((words, [each.at_seconds for each in comparison.runs]))
    return rows
