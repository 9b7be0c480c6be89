"""Why a trial is what it is: its story, in sentences, from the journal alone."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import UsageError
from orchestrator.state import SweepState, Trial

_SEARCHERS = {
    "random": "drawn at random",
    "grid": "the next point of the grid",
    "sobol": "the next point of a Sobol sequence",
    "parzen": "of random candidates the one most like the good trials before it",
    "tpe": "proposed by TPE from the trials before it",
    "gp": "proposed by a Gaussian process from the trials before it",
    "cmaes": "drawn by CMA-ES from where the generation before it did well",
    "try_first": "one of the points to try first",
}


_FRONTIER = {
    "promising": "it went on as the most promising of those set aside",
    "control": "it went on as a control, whatever its value, to show whether that epoch predicts the end",
    "grace": "it went on because that epoch was not seen to predict the end",
    "finalist": "it went on as the best of all, to see the end of its training",
}


def why(state: SweepState, number: int) -> list[str]:
    """One sentence for each thing that decided the trial. Raises UsageError where there is no such trial."""
    trial = state.trials.get(number)
    if trial is None:
        last = len(state.trials) - 1
        raise UsageError(
            f"there is no trial {number}", hint=f"trials run from 0 to {last}" if last >= 0 else "none yet"
        )
    return [*_suggested(state, trial), *_segments(trial), *_end(trial), *_place(state, trial)]


def _suggested(state: SweepState, trial: Trial) -> list[str]:
    chosen = ", ".join(f"{name} = {show(value)}" for name, value in trial.params.items()) or "no parameters"
    startup = state.spec.get("searcher", {}).get("startup_trials", 0)
    how = _SEARCHERS.get(trial.by, f"proposed by {trial.by}")
    if trial.by == "tpe" and trial.number < startup:
        how = f"one of the {startup} drawn at random before TPE has seen enough"
    return [f"Suggested: {chosen}; {how}."]


def _segments(trial: Trial) -> list[str]:
    lines = [f"Segment {failure.segment} failed ({failure.kind}): {failure.message}." for failure in trial.failures]
    lines += [_promotion(on) for on in trial.promotions]
    if trial.segments > 1:
        lines.append(f"It ran in {trial.segments} segments, each going on from the last checkpoint.")
    return lines


def _promotion(on: dict[str, Any]) -> str:
    """Why it went on; by the frontier as one of some kinds."""
    aside, place = (
        f"Set aside after epoch {on['rung']} with {show(on['value'])}",
        f"at place {on['place']} of {on['of']}",
    )
    if on["rule"] == "frontier":
        return f"{aside}, {place}; {_FRONTIER[on['kind']]}."
    return f"{aside}, and promoted once it was {place}."


def _end(trial: Trial) -> list[str]:
    if trial.status == "stopped":
        return [f"Stopped after epoch {trial.stopped_by['epoch']}: {stop_reason(trial.stopped_by)}."]
    ends = {
        "finished": f"Finished: it trained for {trial.epoch} epochs, as long as it was meant to.",
        "failed": "Failed: it takes no part in the ranking.",
        "running": f"Running: {trial.epoch} epochs reported so far.",
        "set_aside": f"Set aside after {trial.epoch} epochs: it goes on from its checkpoint if it is promoted.",
        "interrupted": f"Interrupted after {trial.epoch} epochs; `sweep resume` goes on from there.",
    }
    return [ends[trial.status]]


def stop_reason(stopped: dict[str, Any]) -> str:
    """A stop in words, with the numbers that were compared."""
    rule = stopped["rule"]
    if rule == "asha":
        return (
            f"ASHA compared {stopped['of']} trials at epoch {stopped['rung']} and kept the best {stopped['kept']}; "
            f"this one came in at place {stopped['place']} with {show(stopped['value'])}, "
            f"and {show(stopped['needed'])} was needed"
        )
    if rule == "frontier":
        return (
            f"it was set aside at place {stopped['place']} of {stopped['of']} at epoch {stopped['rung']} "
            f"with {show(stopped['value'])}, and others were more promising until the end"
        )
    if rule == "not_finite":
        return f"{stopped['metric']} was {stopped['value']}, which is not a finite number"
    if rule == "budget":
        return f"the sweep's time of {stopped['wall_clock']:g} s was over"
    if rule == "request":
        return "somebody asked for its end (sweep stop --trial)"
    return str(rule)


def _place(state: SweepState, trial: Trial) -> list[str]:
    best = state.objective.best(trial)
    if best is None:
        return [f"It never reported a finite {state.objective.metric}."]
    ranked = [other.number for other in state.ranking()]
    return [
        f"Judged by its best epoch, {best.epoch}: {state.objective.metric} = {show(best.value)}, "
        f"rank {ranked.index(trial.number) + 1} of {len(ranked)}."
    ]


def show(value: Any) -> str:
    """A value for people: floats to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
