"""A sweep as plain rows, ranked: what tables, JSON and the terminal are made from."""

from __future__ import annotations

import difflib
import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.errors import JournalError, UsageError
from orchestrator.journal import holder, read
from orchestrator.policies.schedulers import last_rung
from orchestrator.rundir import RunDirectory, list_runs, run_at
from orchestrator.state import SweepState, Trial


def find(name: str, runs: str | Path | None = None) -> RunDirectory:
    """The run of that name. Raises UsageError, with the nearest names, where there is none."""
    run = run_at(name, runs)
    if not run.exists():
        known = [other.name for other in list_runs(runs)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"runs here: {', '.join(known) or 'none'}"
        raise UsageError(f"there is no run {name!r} in {run.runs}", hint=hint)
    return run


def read_state(run: RunDirectory) -> SweepState:
    """The sweep as its journal tells it now; ``interrupted`` where it says ``running`` and nobody holds it.

    Raises JournalError where the journal is damaged, or cut off within its first record.
    """
    held = holder(run.journal)
    with collecting_later():
        state = SweepState(read(run.journal))
    if not state.spec:
        raise JournalError(
            f"{run.journal} holds no whole record", hint="if the sweep had not begun yet, launch it again"
        )
    if state.status == "running" and not held:
        state.mark_interrupted()
    return state


@contextmanager
def collecting_later() -> Iterator[None]:
    """No garbage is looked for meanwhile: of a long journal all is kept, and looking through it is half of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def has_begun(run: RunDirectory) -> bool:
    """Whether its journal holds a whole record: one that was cut off within its first is launched anew."""
    return run.exists() and next(iter(read(run.journal)), None) is not None


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
