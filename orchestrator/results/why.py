"""Explain a trial in sentences, from the journal alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError, UsageError
from orchestrator.policies import Scheduler, Suggestion
from orchestrator.policies.extend_limits import recorded_horizon, trained_in_full
from orchestrator.policies.scheduler import rung_text, scheduler_class
from orchestrator.policies.searcher import recorded_searcher
from orchestrator.progress import EPOCHS, UNITS, counted, duration, percent, place, plain, span
from orchestrator.results.launch_changes import segment_changes
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.safe_text import show, show_apart, visible
from orchestrator.state import MALFORMED, Configuration, Failure, SweepState, Takeover, Trial, dominates, pareto_front

if TYPE_CHECKING:
    from orchestrator.results.audit import Audit

__all__ = ["budget_reason", "show", "stop_reason", "stories", "why"]


def why(state: SweepState, number: int) -> list[str]:
    """Return one sentence for each decision about a trial.

    Raises:
        UsageError: If there is no such trial.
    """
    if number not in state.trials:
        last = len(state.trials) - 1
        raise UsageError(
            f"there is no trial {number}",
            hint=f"trials are numbered from 0 to {last}" if last >= 0 else "no trial was suggested yet",
        )
    return stories(state, [number])[number]


def stories(state: SweepState, numbers: Iterable[int]) -> dict[int, list[str]]:
    """Return `why` for several trials; they are ranked once for all."""
    standing = _Standing(state)
    return {number: _story(standing, state.trials[number]) for number in numbers}


class _Standing:
    """Ranks, configurations and the Pareto front of a sweep, each computed once."""

    def __init__(self, state: SweepState) -> None:
        self.state = state

    @cached_property
    def rank(self) -> dict[int, int]:
        return {trial.number: rank for rank, trial in enumerate(self.state.ranking(), 1)}

    @cached_property
    def configurations(self) -> dict[int, tuple[int, Configuration]]:
        """Place and configuration, by the number of its first trial."""
        return {group.first: (place, group) for place, group in enumerate(self.state.configurations(), 1)}

    @cached_property
    def audit(self) -> Audit | None:
        """The audit of the sweep; None if it can have none, or not yet."""
        from orchestrator.results.audit import audit_of

        if self.state.objective.also:
            return None
        try:
            return audit_of(self.state, check=False)
        except SweepError:
            return None

    @cached_property
    def points(self) -> dict[int, tuple[float, ...]]:
        return self.state.points()

    @cached_property
    def front(self) -> list[int]:
        return pareto_front(self.points)


def _story(standing: _Standing, trial: Trial) -> list[str]:
    state = standing.state
    sentences = [
        *_suggested(state, trial),
        *_segments(state, trial),
        *_end(state, trial),
        *_audited(standing, trial),
        *_place(standing, trial),
        *_in_the_finals(state, trial),
    ]
    return [visible(sentence) for sentence in sentences]


def _suggested(state: SweepState, trial: Trial) -> list[str]:
    chosen = _listed(trial.suggested) or "no parameters"
    if trial.configuration != trial.number:
        how = f"the parameters of trial {trial.configuration} under another seed"
    elif trial.by == "try_first":
        how = "one of the points to try first"
    else:
        how = _explained(state, trial)
    return [f"Suggested: {chosen}; {how}."]


def _explained(state: SweepState, trial: Trial) -> str:
    """Return the searcher's own words for a suggestion; plain ones if its plug-in is not usable here."""
    recorded = recorded_searcher(state.spec.get("searcher") or {})
    if recorded is None:
        return f"proposed by {trial.by}"
    searcher, options = recorded
    observed = trial.configuration // state.repeats["seeds"] + state.warm_start_trials
    return searcher.explain(options, Suggestion(trial.by, trial.number, observed))


def _segments(state: SweepState, trial: Trial) -> list[str]:
    lines = [f"A finder set {_listed(trial.found)} in its first segment."] if trial.found else []
    lines += [_failed(trial, failure) for failure in trial.failures]
    takeovers = iter(trial.takeovers)
    lines += [_in_words(partial(_continued, state, promotion, takeovers), promotion) for promotion in trial.promotions]
    if trial.segments > 1:
        lines.append(f"It ran in {trial.segments} segments; {_resumed(trial)}.")
        lines += segment_changes(state, trial)
    return lines


def _failed(trial: Trial, failure: Failure) -> str:
    """Say where in the user's code a segment failed, why, what that took, and where more is."""
    at = f" at {failure.place}" if failure.place else ""
    took = f" after {duration(failure.seconds)}" if failure.seconds else ""
    log = LogFile(trial.number, failure.segment).relative
    return f"Segment {failure.segment} failed{at}{took} ({failure.kind}): {failure.message}. Its log: {log}."


def _resumed(trial: Trial) -> str:
    """Say from where the segments after the first began."""
    fresh, later = len(trial.restarts), trial.segments - 1
    every = "the second" if later == 1 else "the later ones"
    taken = len({takeover.segment for takeover in trial.takeovers if takeover.segment < trial.segments})
    resumed = "resumed from the last checkpoint" + (f", {taken} of them from that of another trial" if taken else "")
    if not fresh:
        return f"{every} {resumed}"
    began = "started from the beginning, since there was no checkpoint"
    if fresh == later:
        return f"{every} {began}"
    return f"{fresh} of {every} {began}, and the other{'s' if later - fresh > 1 else ''} {resumed}"


def _continued(state: SweepState, promotion: dict[str, Any], takeovers: Iterator[Takeover]) -> str:
    return _taken_over(state, promotion, next(takeovers)) if "donor" in promotion else _promoted(state, promotion)


def _promoted(state: SweepState, promotion: dict[str, Any]) -> str:
    """Say why a trial that was set aside continued."""
    if promotion["rule"] == "request":
        rung = place(promotion["rung"], state.unit)
        return f"Set aside after {rung}; it continued by request (sweep promote --trial)."
    return _scheduler(state.spec["scheduler"]["name"]).explain_promotion({**promotion, "unit": state.unit})


def _in_words(words: Callable[[], str], why: Mapping[str, Any]) -> str:
    """Return the words for a decision, or what its record holds if these want other fields: a plug-in may change."""
    try:
        return words()
    except (*MALFORMED, StopIteration):
        numbers = ", ".join(f"{name} = {value!a}" for name, value in why.items() if name not in ("rule", "unit"))
        return f"{visible(str(why.get('rule')))} ({numbers})"


def _scheduler(name: str) -> type[Scheduler]:
    """Return the scheduler's class; the base class, with its plain words, if its plug-in is not usable here."""
    try:
        return scheduler_class(name)
    except UsageError:
        return Scheduler


def _taken_over(state: SweepState, promotion: dict[str, Any], takeover: Takeover) -> str:
    rung = rung_text({**promotion, "unit": state.unit})
    value, donor = show_apart(promotion["value"], promotion["donor_value"])
    return (
        f"Compared after {rung}: {value}, at place {promotion['place']} of "
        f"{promotion['of']}; it took over the weights of trial {promotion['donor']} "
        f"({donor}), and continued with {_listed(takeover.params)}."
    )


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in params.items())


def _end(state: SweepState, trial: Trial) -> list[str]:
    if trial.status == "stopped":
        stopped, end = place(trial.stopped_by["progress"], state.unit), recorded_horizon(state)
        if end is not None and trial.progress >= end:
            trained = span(trial.progress, state.unit)
            last = stop_reason(trial.stopped_by, state.unit)
            return [f"It trained for {_all(trial.progress, trained)}; the last comparison: {last}."]
        return [f"Stopped after {stopped}: {stop_reason(trial.stopped_by, state.unit)}."]
    trained = span(trial.progress, state.unit)
    ends = {
        "finished": _finished(state, trial),
        "failed": "Failed: it cannot win, and is listed behind all others.",
        "running": f"Running: it has reported {trained}.",
        "set_aside": f"Set aside after {trained}: it continues from its checkpoint if it is promoted.",
        "interrupted": f"Interrupted after {trained}; `sweep resume` continues it.",
    }
    if trial.status == "interrupted" and state.status == "running":
        return [_waiting_for_resources(state)]
    return [ends[trial.status]]


def _finished(state: SweepState, trial: Trial) -> str:
    trained, end = span(trial.progress, state.unit), recorded_horizon(state)
    if end is None or trained_in_full(trial, end, state.unit):
        return f"Finished: it trained for {_all(trial.progress, trained)}."
    return f"Finished: it ended by itself after {trained}, of {span(end, state.unit)}."


def _all(progress: float, trained: str) -> str:
    return f"its {trained}" if progress == 1 else f"all its {trained}"


def _waiting_for_resources(state: SweepState) -> str:
    """Describe the resources that an interrupted trial of a running sweep waits for."""
    needs, running = state.spec.get("resources") or {}, sorted(state.running)
    needed = (
        f"tpu: {needs['tpu']}, " if needs.get("tpu") else ""
    ) + f"cpus: {needs.get('cpus', 1):g}, gpus: {needs.get('gpus', 0):g}"
    busy = f" (now {', '.join(f'trial {number}' for number in running)})" if running else ""
    return f"Waiting for free resources: a trial needs {{{needed}}}, and at most {state.slots} run at once{busy}."


def stop_reason(stopped: Mapping[str, Any], unit: str = EPOCHS) -> str:
    """Say why a trial was stopped, with the numbers that were compared; ``unit`` is that of progress."""
    return _in_words(lambda: _stop_reason(stopped, unit), stopped)


def _stop_reason(stopped: Mapping[str, Any], unit: str) -> str:
    rule = stopped["rule"]
    if rule == "not_finite":
        return f"{stopped['metric']} was {stopped['value']}, which is not a finite number"
    if rule == "budget":
        return budget_reason(stopped)
    if rule == "request":
        return "its end was requested (sweep stop --trial)"
    return _scheduler(rule).explain_stop({**stopped, "unit": unit})


def budget_reason(why: Mapping[str, Any]) -> str:
    """Return in words which budget is spent."""
    if "wall_clock" in why:
        return f"the sweep's time of {duration(why['wall_clock'])} was over"
    if "target" in why:
        target, value = show_apart(why["target"], why["value"])
        return f"trial {why['trial']} had reached the target of {target} with {value}"
    key = next(key for key in (*UNITS, "gpu_hours", "cost") if key in why)
    limit = span(why[key], key) if key in UNITS else f"a cost of {show(why[key])}"
    limit = counted(why[key], "GPU-hour") if key == "gpu_hours" else limit
    kept = f", but for the {why['reserve']:.0%} in reserve," if "reserve" in why else ""
    return f"the sweep's budget of {limit}{kept} was spent"


def _audited(standing: _Standing, trial: Trial) -> list[str]:
    """Say with what probability a trial that did not train to its end would have become the best."""
    from orchestrator.results.audit_text import trial_sentences

    if trial.status not in ("stopped", "set_aside") or standing.audit is None:
        return []
    return trial_sentences(standing.audit, trial.number, standing.state.unit)


def _place(standing: _Standing, trial: Trial) -> list[str]:
    state = standing.state
    best = state.objective.best(trial)
    if best is None:
        return [_without_value(state, trial)]
    if trial.status == "failed":
        report = _best_report(best.progress, state.unit)
        return [f"Before it failed: {state.objective.metric} = {show(best.value)} in its {report}."]
    return [
        f"Judged by its {_best_report(best.progress, state.unit)}: "
        f"{state.objective.metric} = {show(best.value)}, "
        f"rank {standing.rank[trial.number]} of {len(standing.rank)}.",
        *_in_its_configuration(standing, trial),
        *_on_the_front(standing, trial),
    ]


def _best_report(progress: float, unit: str) -> str:
    return f"best epoch, {plain(progress)}" if unit == EPOCHS else f"best report, at {place(progress, unit)}"


def _on_the_front(standing: _Standing, trial: Trial) -> list[str]:
    """State whether a trial is on the Pareto front, or which trial dominates it."""
    state = standing.state
    if not state.objective.also:
        return []
    points, front = standing.points, standing.front
    if trial.number in front:
        others = f"one of the {len(front):,} trials" if len(front) > 1 else "the only trial"
        return [f"It is {others} on the Pareto front, of {len(points):,} in all."]
    if trial.number not in points:
        return ["It is not on the Pareto front: it failed, or an objective has no finite value at its best report."]
    dominating = next(number for number in front if dominates(points[number], points[trial.number]))
    best = state.objective.best(state.trials[dominating])
    assert best is not None
    metrics = state.trials[dominating].reports[best.progress].metrics
    goals = (state.objective, *state.objective.also)
    values = ", ".join(f"{goal.metric} = {show(metrics[goal.metric])}" for goal in goals)
    return [f"It is not on the Pareto front: trial {dominating} dominates it ({values})."]


def _without_value(state: SweepState, trial: Trial) -> str:
    objective = state.objective
    if replace(objective, constraints=()).best(trial) is None:
        return f"It never reported a finite {objective.metric}."
    last = trial.reports[trial.progress].metrics
    violated = next((bound for bound in objective.constraints if not bound.holds(last)), objective.constraints[0])
    value = (
        f"{show(last[violated.metric])} in the last report"
        if violated.metric in last
        else "no value in the last report"
    )
    return f"No report satisfied the constraint {violated} ({value}), so the trial cannot win."


def _in_its_configuration(standing: _Standing, trial: Trial) -> list[str]:
    """Describe the trial's configuration, if configurations run under several seeds."""
    state, configurations = standing.state, standing.configurations
    place, group = configurations.get(trial.configuration, (0, None))
    if group is None or group.mean is None:
        return []
    spread = "" if group.std is None else f", standard deviation {show(group.std)}"
    unfinished = (
        "" if group.complete else f" (it ranks behind, since fewer than {state.repeats['seeds']} trials have a value)"
    )
    numbers, rule = ", ".join(map(str, group.trials)), state.repeats["rank_by"].replace("_", " ")
    return [
        f"Its configuration is that of trials {numbers}: {state.objective.metric} has mean {show(group.mean)}{spread}, "
        f"n = {len(group.values)}; place {place} of {len(configurations)} by {rule}{unfinished}."
    ]


def _in_the_finals(state: SweepState, trial: Trial) -> list[str]:
    """Describe the fresh trainings of the trial's parameters in the finals, if any."""
    table = (state.confirmation or {}).get("table", ())
    row = next((row for row in table if row["configuration"] == trial.number), None)
    if row is None or row["mean"] is None:
        return []
    rank = f"place {table.index(row) + 1} of {len(table)}, the best with probability {percent(row['probability'], '')}"
    rank = rank if len(table) > 1 else "the only finalist"
    return [
        f"In the finals its parameters trained {counted(len(row['values']), 'time')} under fresh seeds: "
        f"mean {show(row['mean'])}, {rank}."
    ]
