"""A sweep's trials as ranked dictionaries: the source of tables, JSON and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.codec import display
from orchestrator.policies.scheduler import recorded_scheduler
from orchestrator.rundir import RunDirectory
from orchestrator.state import Failure, SweepState, Trial, rung_of


def rows(run: RunDirectory, state: SweepState) -> list[dict[str, Any]]:
    """Return one dictionary a trial, best first.

    The keys are ``rank``, ``trial``, ``status``, ``params``, ``best``, ``at``, ``epoch``, ``progress``, ``epochs``,
    ``rung``, ``checkpoint``, ``busy``, ``waited``, ``seconds``, ``segments``, ``stopped_by`` and ``error``.
    ``best`` is the objective at the best finite report, whose progress is ``at`` and whose epoch is ``epoch`` (None if
    there is none). ``progress`` and ``epochs`` are those of the last report, and ``rung`` is the last rung that the
    trial has reached (None if the scheduler has none). ``checkpoint`` is the path, or URL, of the best report's
    checkpoint (None if it was deleted). ``busy`` are the seconds in which its segments ran, ``waited`` the rest up to
    its end, and ``seconds`` both.

    With several seeds a configuration there are also ``configuration`` (the number of its first trial), and ``mean``,
    ``std`` and ``n`` of the best values of its trials. With several objectives there are also ``also`` (the values of
    the other objectives there) and ``front``, whether the trial is on the Pareto front.
    """
    repeated = state.repeated
    secondary = state.objective.also
    front = set(state.front()) if secondary else set()
    return [
        _row(run, state, rank, trial)
        | (_configuration_columns(state, trial) if repeated else {})
        | (_objective_columns(state, trial) | {"front": trial.number in front} if secondary else {})
        for rank, trial in enumerate(state.ranking(), 1)
    ]


def _objective_columns(state: SweepState, trial: Trial) -> dict[str, Any]:
    best = state.objective.best(trial)
    values = {
        goal.metric: trial.value(best.progress, goal.metric) if best else math.nan for goal in state.objective.also
    }
    return {"also": {metric: value if math.isfinite(value) else None for metric, value in values.items()}}


def _configuration_columns(state: SweepState, trial: Trial) -> dict[str, Any]:
    configuration = state.configuration(trial.number)
    return {
        "configuration": configuration.first,
        "mean": configuration.mean,
        "std": configuration.std,
        "n": len(configuration.values),
    }


def _row(run: RunDirectory, state: SweepState, rank: int, trial: Trial) -> dict[str, Any]:
    best = state.objective.best(trial)
    held = trial.checkpoints.get(best.progress) if best else None
    return {
        "rank": rank,
        "trial": trial.number,
        "status": trial.status,
        "params": {name: display(value) for name, value in params_of(state, trial).items()},
        "best": best.value if best else None,
        "at": best.progress if best else None,
        "epoch": trial.reports[best.progress].epoch if best else None,
        "progress": trial.progress,
        "epochs": trial.epoch,
        "rung": _rung(state, trial),
        "checkpoint": run.locate(held.path) if held else None,
        "busy": round(state.busy_seconds(trial), 3),
        "seconds": _seconds(state, trial),
        "waited": round(max(0.0, _seconds(state, trial) - state.busy_seconds(trial)), 3),
        "segments": trial.segments,
        "stopped_by": trial.stopped_by or None,
        "error": _error(trial.failures[-1]) if trial.failures else None,
    }


def _error(failure: Failure) -> str:
    """Return a failure's message with the line of the user's code."""
    return f"{failure.message} (at {failure.place})" if failure.place else failure.message


def params_of(state: SweepState, trial: Trial) -> Mapping[str, Any]:
    """Return the parameters of the trial's best epoch, in their written form; the present ones if there is none."""
    best = state.objective.best(trial)
    return trial.params_at(best.progress) if best else trial.params


def _seconds(state: SweepState, trial: Trial) -> float:
    """Return the seconds since its suggestion, up to its end or the last event. Steps of the clock do not count."""
    ended = trial.steady_ended if trial.ended else state.steady_time
    return round(max(0.0, ended - trial.steady_started), 3)


def _rung(state: SweepState, trial: Trial) -> float | None:
    recorded = recorded_scheduler(state.spec["scheduler"])
    rung = recorded[0].rung_reached(recorded[1], trial.progress) if recorded else None
    if rung is not None:
        return rung
    compared = [rung_of(promotion) for promotion in trial.promotions]
    return rung_of(trial.stopped_by) if "rung" in trial.stopped_by else compared[-1] if compared else None
