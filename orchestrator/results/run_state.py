"""A sweep as plain rows, ranked: what tables, JSON and the terminal are made from."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import JournalError, UsageError
from orchestrator.journal import holder, read
from orchestrator.rundir import RunDirectory, list_runs, run_at
from orchestrator.state import SweepState


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
