"""What is asked of a process that runs a sweep."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import holder
from orchestrator.results.rows import find, read_state
from orchestrator.results.winner import finals_of


def stop(name: str, runs: str | Path | None = None, *, trial: int | None = None, wait: float = 60.0) -> str:
    """Ask the process that runs the sweep for a clean stop, or for the end of one trial, and wait for it.

    Waits at most ``wait`` seconds. Returns who was asked. A running trial ends at its next report. Where the search has
    ended and its finals run, it is these that are asked.

    Raises UsageError where nobody runs the sweep or there is no such trial, SweepError where it takes longer.
    """
    run = find(name, runs)
    state = read_state(run)
    if state.finals_open and not holder(run.journal):
        run = finals_of(run, state)
    asked = holder(run.journal)
    if not asked:
        raise UsageError(f"nobody runs {name!r}", hint=f"go on with it: sweep resume {name}")
    if trial is not None and trial not in (trials := read_state(run).trials):
        raise UsageError(f"{name!r} has no trial {trial}", hint=f"it has trials 0 to {len(trials) - 1}")
    request = run.stop_request(trial)
    request.parent.mkdir(mode=0o700, exist_ok=True)
    request.touch()
    until = time.monotonic() + wait
    while holder(run.journal) if trial is None else request.exists() and holder(run.journal):
        if time.monotonic() > until:
            what = repr(name) if trial is None else f"trial {trial}"
            raise SweepError(f"{what} has not stopped in {wait:g} s, but will; {name!r} is held by {asked}")
        time.sleep(0.1)
    return str(asked)
