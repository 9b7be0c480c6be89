"""Find a run and replay its journal into a state."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import JournalError, UsageError
from orchestrator.journal import holder, read, spec_problem
from orchestrator.rundir import RunDirectory, list_runs, run_at
from orchestrator.state import SweepState


def find(name: str, runs: str | Path | None = None) -> RunDirectory:
    """Return the run of that name.

    Raises:
        UsageError: If there is none; the hint names the nearest names.
    """
    run = run_at(name, runs)
    if not run.exists():
        names = [listed.name for listed in list_runs(runs)]
        similar = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"runs here: {', '.join(names) or 'none'}"
        raise UsageError(f"there is no run {name!r} in {run.runs}", hint=hint)
    return run


def read_state(run: RunDirectory) -> SweepState:
    """Replay the journal of a run.

    The status is ``interrupted`` if the journal says ``running`` and no process holds its lease.

    Raises:
        JournalError: If the journal is damaged, or torn within its first record.
    """
    lease_holder = holder(run.journal)
    with without_garbage_collection():
        state = SweepState(read(run.journal))
    if not state.spec:
        raise JournalError(
            f"{run.journal} holds no complete record", hint="launch the sweep again if it had not started yet"
        )
    require_complete_spec(state)
    if state.status == "running" and not lease_holder:
        state.mark_interrupted()
    return state


def require_complete_spec(state: SweepState) -> None:
    """Raise JournalError if a part of the spec is missing that every program writes and readers use."""
    if problem := spec_problem(state.spec, complete=True):
        raise JournalError(
            f"record {state.spec_seq} of the journal holds a spec that cannot be used: {problem}",
            hint="nothing was changed; restore an undamaged copy",
        )


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause Python's garbage collector.

    Everything read from a long journal is kept, and searching it for garbage took half of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def has_begun(run: RunDirectory) -> bool:
    """Return whether the journal holds a complete record; a run without one is launched from the start."""
    return run.exists() and next(iter(read(run.journal)), None) is not None
