"""Why a trial is what it is: its story, in sentences, from the journal alone."""

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
    """One sentence for each thing that decided the trial. Raises UsageError where there is no such trial."""
    if number not in state.trials:
        last = len(state.trials) - 1
        raise UsageError(
            f"there is no trial {number}", hint=f"trials run from 0 to {last}" if last >= 0 else "none yet"
        )
    return stories(state, [number])[number]


def stories(state: SweepState, numbers: Iterable[int]) -> dict[int, list[str]]:
    """`why` of many trials, which are ranked once for all."""
    standing = _Standing(state)
    return {number: _story(standing, state.trials[number]) for number in numbers}


class _Standing:
    """How the trials of a sweep stand to each other: what takes all of them to know, found once."""

    def __init__(self, state: SweepState) -> None:
        self.state = state

    @cached_property
    def rank(self) -> dict[int, int]:
        return {trial.number: rank for rank, trial in enumerate(self.state.ranking(), 1)}

    @cached_property
    def configurations(self) -> dict[int, tuple[int, Configuration]]:
        """Place and configuration, by its first trial."""
        return {found.first: (place, found) for place, found in enumerate(self.state.configurations(), 1)}

    @cached_property
    def points(self) -> dict[int, tuple[float, ...]]:
        return self.state.points()

    @cached_property
    def front(self) -> list[int]:
        return pareto_front(self.points)


def _story(standing: _Standing, trial: Trial) -> list[str]:
    state = standing.state
    told = [
        *_suggested(state, trial),
        *_segments(trial),
        *_end(state, trial),
        *_place(standing, trial),
        *_in_the_finals(state, trial),
    ]
    return [visible(sentence) for sentence in told]


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
        lines.append(f"It ran in {trial.segments} segments, each going on from the last checkpoint.")
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
        "finished": f"Finished: it trained for {trial.epoch} epochs, as long as it was meant to.",
        "failed": "Failed: it takes no part in the ranking.",
        "running": f"Running: {trial.epoch} epochs reported so far.",
        "set_aside": f"Set aside after {trial.epoch} epochs: it goes on from its checkpoint if it is promoted.",
        "interrupted": f"Interrupted after {trial.epoch} epochs; `sweep resume` goes on from there.",
    }
    if trial.status == "interrupted" and state.status == "running":
        return [_waiting(state)]
    return [ends[trial.status]]


def _waiting(state: SweepState) -> str:
    """What a trial waits for that goes on as soon as there is room for it."""
    needs, running = state.spec.get("resources") or {}, sorted(state.running)
    wanted = (
        f"tpu: {needs['tpu']}, " if needs.get("tpu") else ""
    ) + f"cpus: {needs.get('cpus', 1):g}, gpus: {needs.get('gpus', 0):g}"
    taken = f" (now {', '.join(f'trial {number}' for number in running)})" if running else ""
    return f"Waiting for room: a trial needs {{{wanted}}}, and {state.slots} run at once{taken}."


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
        *_together(standing, trial),
        *_on_the_front(standing, trial),
    ]


def _on_the_front(standing: _Standing, trial: Trial) -> list[str]:
    """Where there are several objectives: whether it is on the Pareto front, or else the first there that is better."""
    state = standing.state
    if not state.objective.also:
        return []
    points, front = standing.points, standing.front
    if trial.number in front:
        return [f"It is on the Pareto front, of {len(front)} of {len(points)} trials."]
    if trial.number not in points:
        return ["It is not on the Pareto front: not all objectives have a finite value there, or it failed."]
    ahead = next(number for number in front if dominates(points[number], points[trial.number]))
    best = state.objective.best(state.trials[ahead])
    assert best is not None
    metrics = state.trials[ahead].reports[best.epoch].metrics
    goals = (state.objective, *state.objective.also)
    told = ", ".join(f"{goal.metric} = {show(metrics[goal.metric])}" for goal in goals)
    return [f"It is not on the Pareto front: trial {ahead} is no worse in any objective and better in one ({told})."]


def _without_value(state: SweepState, trial: Trial) -> str:
    objective = state.objective
    if replace(objective, constraints=()).best(trial) is None:
        return f"It never reported a finite {objective.metric}."
    last = trial.reports[trial.epoch].metrics
    broken = next((bound for bound in objective.constraints if not bound.holds(last)), objective.constraints[0])
    told = f"{show(last[broken.metric])} in the last" if broken.metric in last else "none in the last"
    return f"No epoch kept to the constraint {broken} ({told}), so it cannot win."


def _together(standing: _Standing, trial: Trial) -> list[str]:
    """How its configuration did, where configurations are tried under several seeds."""
    state, listed = standing.state, standing.configurations
    place, found = listed.get(trial.configuration, (0, None))
    if found is None or found.mean is None:
        return []
    spread = "" if found.std is None else f", standard deviation {show(found.std)}"
    unfinished = "" if found.complete else f" (not all {state.repeats['seeds']} have come to a value: it ranks behind)"
    numbers, rule = ", ".join(map(str, found.trials)), state.repeats["rank_by"].replace("_", " ")
    return [
        f"Its configuration is that of trials {numbers}: {state.objective.metric} has mean {show(found.mean)}{spread}, "
        f"n = {len(found.values)}; place {place} of {len(listed)} by {rule}{unfinished}."
    ]


def _in_the_finals(state: SweepState, trial: Trial) -> list[str]:
    """What its parameters came to under fresh seeds, if they took part."""
    table = (state.confirmation or {}).get("table", ())
    row = next((row for row in table if row["configuration"] == trial.number), None)
    if row is None or row["mean"] is None:
        return []
    return [
        f"In the finals its parameters trained {len(row['values'])} times under fresh seeds: mean {show(row['mean'])}, "
        f"place {table.index(row) + 1} of {len(table)}, the best with probability {row['probability']:.0%}."
    ]


def show(value: Any) -> str:
    """A value for people: floats to four significant digits, and of texts what cannot be seen written out."""
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
