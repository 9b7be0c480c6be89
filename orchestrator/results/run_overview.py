"""What a list of runs shows of each: state, progress, best, age, size and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import JournalError, RunStartingError
from orchestrator.results.run_state import read_state
from orchestrator.rundir import RunDirectory
from orchestrator.rundir import list_runs as runs_in
from orchestrator.rundir.disk_use import disk_use
from orchestrator.rundir.labels import read_labels
from orchestrator.state import SweepState


@dataclass(frozen=True)
class RunSummary:
    """A run in a list.

    Attributes:
        name: of the run.
        directory: its path or URL.
        status: ``starting``, ``running``, ``interrupted``, ``paused``, ``completed``, or ``damaged`` if its journal
            cannot be read.
        reason: why it is paused, completed or damaged; or how far its start is.
        trials: how many were suggested.
        ended: how many of them have ended.
        limit: the budget's number of trials; None if it sets none.
        metric: the objective.
        best: its best value so far.
        best_trial: the trial with that value.
        launched: when it was launched, in Unix seconds.
        size: the bytes that it takes.
        tags: of its labels.
        note: of its labels.
        archived: of its labels.

    Example:
        ```python
        for run in orchestrator.list_runs():
            print(run.name, run.status, run.best)
        ```
    """

    name: str
    directory: str
    status: str
    reason: str
    trials: int | None
    ended: int | None
    limit: int | None
    metric: str
    best: float | None
    best_trial: int | None
    launched: float
    size: int
    tags: tuple[str, ...]
    note: str
    archived: bool


def list_runs(*folders: str | Path, tags: Sequence[str] = (), archived: bool = False) -> list[RunSummary]:
    """Return the runs in folders, or at URLs, oldest first.

    Args:
        folders: of runs; by default ``SWEEP_RUNS``, else ``runs``.
        tags: only runs that have all of them.
        archived: include archived runs.

    Example:
        ```python
        names = [run.name for run in orchestrator.list_runs("runs", tags=["baseline"])]
        ```
    """
    runs = [run for folder in folders or (None,) for run in runs_in(folder)]
    summaries = map(summary_of, runs)
    return [each for each in summaries if set(tags) <= set(each.tags) and (archived or not each.archived)]


def summary_of(run: RunDirectory, state: SweepState | None = None) -> RunSummary:
    """Return what a list shows of a run; a damaged journal is said there, so that it does not hide other runs.

    Args:
        run: its directory.
        state: its journal, replayed; by default it is read.
    """
    labels = read_labels(run)
    own = {"name": run.name, "directory": run.where, "launched": run.created_at, "size": disk_use(run).total}
    labelled = {"tags": labels.tags, "note": labels.note, "archived": labels.archived}
    try:
        state = state or read_state(run)
    except (JournalError, RunStartingError) as error:
        nothing = dict.fromkeys(("trials", "ended", "limit", "best", "best_trial"))
        status = "damaged" if isinstance(error, JournalError) else "starting"
        return RunSummary(**own, **labelled, **nothing, status=status, reason=error.message, metric="")  # type: ignore[arg-type]
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    return RunSummary(
        **own,  # type: ignore[arg-type]
        **labelled,  # type: ignore[arg-type]
        status=state.status,
        reason=state.reason,
        trials=len(state.trials),
        ended=state.ended,
        limit=state.spec["budget"].get("trials"),
        metric=state.objective.metric,
        best=best.value if best else None,
        best_trial=winner.number if winner else None,
    )
