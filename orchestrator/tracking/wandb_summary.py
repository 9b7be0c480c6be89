"""The values of the sweep's own W&B run: the ranking as a table, and a summary of the result."""

from __future__ import annotations

from typing import Any

from orchestrator.progress import EPOCHS, SECONDS, axis, noun
from orchestrator.results.trial_rows import rows
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState


def sweep_values(run: RunDirectory, state: SweepState) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values to log (with the ranking as a W&B table), and the run's summary."""
    import wandb

    ranking = rows(run, state)
    names = sorted({name for row in ranking for name in row["params"]})
    metric = state.objective.metric
    at, reached = (f"at {noun(state.unit)}", noun(state.unit)) if state.unit != EPOCHS else ("epoch", "epochs")
    columns = ["rank", "trial", "status", *names, metric, at, reached, "run seconds" if reached == SECONDS else SECONDS]
    table = wandb.Table(columns=columns, allow_mixed_types=True)
    for row in ranking:
        params = [_cell(row["params"].get(name)) for name in names]
        table.add_data(
            row["rank"], row["trial"], row["status"], *params, row["best"], row["at"], row["progress"], row["busy"]
        )
    return {"ranking": table}, _summary(state)


def _summary(state: SweepState) -> dict[str, Any]:
    best = state.winner()
    values: dict[str, Any] = {
        "status": state.status,
        "reason": state.reason,
        "trials": len(state.trials),
        **{status: state.count(status) for status in ("finished", "stopped", "failed")},
        "epochs": state.epochs,
        **({noun(state.unit): state.trained[state.unit]} if state.unit in state.trained else {}),
        "hours": round(state.active_seconds / 3600, 4),
    }
    at = state.objective.best(best) if best else None
    if best and at:
        values |= {"best_trial": best.number, f"best_{state.objective.metric}": at.value}
        values |= {"best_epoch": best.reports[at.progress].epoch, f"best_{axis(state.unit)}": at.progress}
        values |= {f"best.{name}": _cell(value) for name, value in best.params_at(at.progress).items()}
    return values


def _cell(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) or value is None else str(value)
