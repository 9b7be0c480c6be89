"""Explain a trial in sentences, from the journal alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.safe_text import visible
from orchestrator.state import Configuration, SweepState, Takeover, Trial, dominates, pareto_front

_SEARCHERS = {
    "random": "drawn at random",
    "grid": "the next point of the grid",
    "sobol": "the next point of a Sobol sequence",
    "parzen": "of random candidates the one most like the good ones of {before}",
    "tpe": "proposed by TPE from {before}",
    "bohb": "proposed by BOHB from {before}, or drawn at random, as a third are",
    "gp": "proposed by a Gaussian process from {before}",
    "cmaes": "drawn by CMA-ES from where the generation before it did well",
    "nsga2": "bred by NSGA-II from the generation before it, or drawn at random for the first",
    "nsga3": "bred by NSGA-III from the generation before it, or drawn at random for the first",
    "try_first": "one of the points to try first",
    "race": "one of the points of the race",
}


_FRONTIER = {
    "promising": "it went on as the most promising of those set aside",
    "control": "it went on as a control, whatever its value, to show whether that epoch predicts the end",
    "grace": "it went on because that epoch was not seen to predict the end",
    "finalist": "it went on as the best of all, to see the end of its training",
}


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
        return {each.first: (place, each) for place, each in enumerate(self.state.configurations(), 1)}

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
        *_segments(trial),
        *_end(state, trial),
        *_place(standing, trial),
        *_in_the_finals(state, trial),
    ]
    return [visible(sentence) for sentence in sentences]


def _suggested(state: SweepState, trial: Trial) -> list[str]:
    chosen = _listed(trial.suggested) or "no parameters"
    startup = state.spec.get("searcher", {}).get("startup_trials", 0)
    before = f"the {trial.number} trials before it" if trial.number > 1 else "the trial before it"
    how = _SEARCHERS.get(trial.by, f"proposed by {trial.by}").replace("{before}", before)
    if trial.by == "tpe" and trial.configuration // state.repeats["seeds"] + state.warm_start_trials < startup:
        how = f"one of the {startup} drawn at random before TPE has seen enough"
    if trial.configuration != trial.number:
        how = f"the parameters of trial {trial.configuration} under another seed"
    return [f"Suggested: {chosen}; {how}."]


def _segments(trial: Trial) -> list[str]:
    lines = [f"Segment {failure.segment} failed ({failure.kind}): {failure.message}." for failure in trial.failures]
    takeovers = iter(trial.takeovers)
    lines += [_taken_over(on, next(takeovers)) if "donor" in on else _promoted(on) for on in trial.promotions]
    if trial.segments > 1:
        lines.append(f"It ran in {trial.segments} segments; each resumed from the last checkpoint.")
    return lines


def _promoted(on: dict[str, Any]) -> str:
    """Why it went on; by the frontier as one of some kinds."""
    if on["rule"] == "request":
        return f"Set aside after epoch {on['rung']}; it went on because somebody asked for it (sweep promote --trial)."
    value, place = show(on["value"]), f"at place {on['place']} of {on['of']}"
    if on["rule"] in ("pbt", "pb2"):
        return f"Compared after epoch {on['rung']}: {value}, {place}; it went on as it was."
    aside = f"Set aside after epoch {on['rung']} with {value}"
    if on["rule"] == "frontier":
        return f"{aside}, {place}; {_FRONTIER[on['kind']]}."
    return f"{aside}, and promoted once it was {place}."


def _taken_over(on: dict[str, Any], taken: Takeover) -> str:
    return (
        f"Compared after epoch {on['rung']}: {show(on['value'])}, at place {on['place']} of {on['of']}; it took over "
        f"the weights of trial {on['donor']} ({show(on['donor_value'])}), and went on with {_listed(taken.params)}."
    )


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {show(value)}" for name, value in params.items())


def _end(state: SweepState, trial: Trial) -> list[str]:
    if trial.status == "stopped":
        return [f"Stopped after epoch {trial.stopped_by['epoch']}: {stop_reason(trial.stopped_by)}."]
    ends = {
        "finished": f"Finished: it trained for all its {trial.epoch} epochs.",
        "failed": "Failed: it ranks behind all others and cannot win.",
        "running": f"Running: it has reported {trial.epoch} epochs.",
        "set_aside": f"Set aside after {trial.epoch} epochs: it continues from its checkpoint if it is promoted.",
        "interrupted": f"Interrupted after {trial.epoch} epochs; `sweep resume` continues it.",
    }
    if trial.status == "interrupted" and state.status == "running":
        return [_waiting_for_resources(state)]
    return [ends[trial.status]]


def _waiting_for_resources(state: SweepState) -> str:
    """Describe the resources that an interrupted trial of a running sweep waits for."""
    needs, running = state.spec.get("resources") or {}, sorted(state.running)
    needed = (
        f"tpu: {needs['tpu']}, " if needs.get("tpu") else ""
    ) + f"cpus: {needs.get('cpus', 1):g}, gpus: {needs.get('gpus', 0):g}"
    busy = f" (now {', '.join(f'trial {number}' for number in running)})" if running else ""
    return f"Waiting for free resources: a trial needs {{{needed}}}, and at most {state.slots} run at once{busy}."


def stop_reason(stopped: dict[str, Any]) -> str:
    """A stop in words, with the numbers that were compared."""
    rule = stopped["rule"]
    if rule in ("asha", "hyperband"):
        who = "ASHA" if rule == "asha" else f"Hyperband's bracket {stopped['bracket']}"
        return (
            f"{who} compared {stopped['of']} trials at epoch {stopped['rung']} and kept the best {stopped['kept']}; "
            f"this one came in at place {stopped['place']} with {show(stopped['value'])}, "
            f"and {show(stopped['needed'])} was needed"
        )
    if rule == "median":
        return (
            f"its best by epoch {stopped['rung']}, {show(stopped['value'])}, was worse than {show(stopped['median'])}, "
            f"the median of the means of the {stopped['of']} other trials that had come so far"
        )
    if rule == "patience":
        return (
            f"{show(stopped['value'])} at epoch {stopped['since']} was its last improvement, "
            f"and {stopped['epochs']} epochs without one are allowed"
        )
    if rule == "frontier":
        return (
            f"it was set aside at place {stopped['place']} of {stopped['of']} at epoch {stopped['rung']} "
            f"with {show(stopped['value'])}, and others were more promising until the end"
        )
    if rule == "not_finite":
        return f"{stopped['metric']} was {stopped['value']}, which is not a finite number"
    if rule == "budget":
        return budget_reason(stopped)
    if rule == "request":
        return "somebody asked for its end (sweep stop --trial)"
    return str(rule)


def budget_reason(why: dict[str, Any]) -> str:
    """Which budget is spent, in words."""
    if "wall_clock" in why:
        return f"the sweep's time of {why['wall_clock']:g} s was over"
    if "target" in why:
        return f"trial {why['trial']} had reached the target of {show(why['target'])} with {show(why['value'])}"
    unit = next(key for key in ("epochs", "gpu_hours", "cost") if key in why)
    words = {"epochs": "{} epochs", "gpu_hours": "{} GPU-hours", "cost": "a cost of {}"}
    kept = f", but for the {why['reserve']:.0%} in reserve," if "reserve" in why else ""
    return f"the sweep's budget of {words[unit].format(show(why[unit]))}{kept} was spent"


def _place(standing: _Standing, trial: Trial) -> list[str]:
    state = standing.state
    best = state.objective.best(trial)
    if best is None:
        return [_without_value(state, trial)]
    return [
        f"Judged by its best epoch, {best.epoch}: {state.objective.metric} = {show(best.value)}, "
        f"rank {standing.rank[trial.number]} of {len(standing.rank)}.",
        *_in_its_configuration(standing, trial),
        *_on_the_front(standing, trial),
    ]


def _on_the_front(standing: _Standing, trial: Trial) -> list[str]:
    """State whether a trial is on the Pareto front, or which trial dominates it."""
    state = standing.state
    if not state.objective.also:
        return []
    points, front = standing.points, standing.front
    if trial.number in front:
        return [f"It is one of the {len(front)} trials on the Pareto front, of {len(points)} in all."]
    if trial.number not in points:
        return ["It is not on the Pareto front: it failed, or an objective has no finite value at its best epoch."]
    dominating = next(number for number in front if dominates(points[number], points[trial.number]))
    best = state.objective.best(state.trials[dominating])
    assert best is not None
    metrics = state.trials[dominating].reports[best.epoch].metrics
    goals = (state.objective, *state.objective.also)
    values = ", ".join(f"{goal.metric} = {show(metrics[goal.metric])}" for goal in goals)
    return [f"It is not on the Pareto front: trial {dominating} dominates it ({values})."]


def _without_value(state: SweepState, trial: Trial) -> str:
    objective = state.objective
    if replace(objective, constraints=()).best(trial) is None:
        return f"It never reported a finite {objective.metric}."
    last = trial.reports[trial.epoch].metrics
    violated = next((bound for bound in objective.constraints if not bound.holds(last)), objective.constraints[0])
    value = (
        f"{show(last[violated.metric])} in the last epoch" if violated.metric in last else "no value in the last epoch"
    )
    return f"No epoch satisfied the constraint {violated} ({value}), so the trial cannot win."


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
    return [
        f"In the finals its parameters trained {len(row['values'])} times under fresh seeds: mean {show(row['mean'])}, "
        f"place {table.index(row) + 1} of {len(table)}, the best with probability {row['probability']:.0%}."
    ]


def show(value: Any) -> str:
    """Return a value as text: floats with four significant digits, invisible characters written out."""
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
