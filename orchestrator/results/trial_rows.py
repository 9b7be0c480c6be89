"""A sweep's trials as ranked dictionaries: the source of tables, JSON and reports."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.policies.schedulers import last_rung
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, Trial


def rows(run: RunDirectory, state: SweepState) -> list[dict[str, Any]]:
    """One row a trial, best first: ``rank trial status params best epoch epochs rung checkpoint …``.

    ``best`` is the objective at the best finite epoch ``epoch`` (null where there is none), ``rung``
    the last epoch at which it was compared with others (null where the scheduler has no rungs), ``checkpoint`` the
    absolute path, or URL, of that epoch's checkpoint (null where it is gone), ``seconds`` from suggestion to end.

    Where configurations are tried under several seeds, also ``configuration`` (the number of its first trial), and
    ``mean``, ``std`` and ``n`` of the best values of its trials. Where there are several objectives, also ``also`` (the
    others' values at epoch ``epoch``) and ``front``, whether it is on the Pareto front.
    """
    repeated = state.repeated
    several = state.objective.also
    front = set(state.front()) if several else set()
    return [
        _row(run, state, rank, trial)
        | (_together(state, trial) if repeated else {})
        | (_traded(state, trial) | {"front": trial.number in front} if several else {})
        for rank, trial in enumerate(state.ranking(), 1)
    ]


def _traded(state: SweepState, trial: Trial) -> dict[str, Any]:
    best = state.objective.best(trial)
    values = {goal.metric: trial.value(best.epoch, goal.metric) if best else math.nan for goal in state.objective.also}
    return {"also": {metric: value if math.isfinite(value) else None for metric, value in values.items()}}


def _together(state: SweepState, trial: Trial) -> dict[str, Any]:
    found = state.configuration(trial.number)
    return {"configuration": found.first, "mean": found.mean, "std": found.std, "n": len(found.values)}


def _row(run: RunDirectory, state: SweepState, rank: int, trial: Trial) -> dict[str, Any]:
    best = state.objective.best(trial)
    kept = trial.checkpoints.get(best.epoch) if best else None
    return {
        "rank": rank,
        "trial": trial.number,
        "status": trial.status,
        "params": trial.params_at(best.epoch) if best else trial.params,
        "best": best.value if best else None,
        "epoch": best.epoch if best else None,
        "epochs": trial.epoch,
        "rung": _rung(state, trial),
        "checkpoint": run.locate(kept.path) if kept else None,
        "seconds": round(max(0.0, (trial.ended or state.updated) - trial.started), 3),
        "segments": trial.segments,
        "stopped_by": trial.stopped_by or None,
        "error": trial.failures[-1].message if trial.failures else None,
    }


def _rung(state: SweepState, trial: Trial) -> int | None:
    scheduler = state.spec["scheduler"]
    if scheduler["name"] in ("asha", "frontier"):
        return last_rung(trial.epoch, scheduler["grace_epochs"], scheduler["reduction_factor"])
    compared = [on["rung"] for on in trial.promotions]
    return trial.stopped_by.get("rung", compared[-1] if compared else None)
