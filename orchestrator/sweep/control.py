"""What is asked of a process that runs a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import holder
from orchestrator.results.run_state import find, read_state
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

_WHY_NOT = {
    "running": ("it runs already", "the scheduler decides at its next rung"),
    "interrupted": ("it goes on by itself as soon as there is room", "sweep status says how far the run is"),
    "finished": ("it has finished", "more epochs for the whole sweep: sweep extend --epochs"),
    "stopped": ("it was stopped, and what has ended stays so", "sweep why --trial says by what"),
    "failed": ("it has failed", "give it another chance: sweep retry --trial"),
}


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
    asked = _who_runs(run, name)
    if trial is not None:
        _require_trial(read_state(run), name, trial)
    run.ask(request := run.stop_request(trial))
    if not _waited(lambda: not holder(run.journal) or (trial is not None and request.name not in run.asked()), wait):
        what = repr(name) if trial is None else f"trial {trial}"
        raise SweepError(f"{what} has not stopped in {wait:g} s, but will; {name!r} is held by {asked}")
    return asked


def promote(name: str, runs: str | Path | None = None, *, trial: int, wait: float = 3.0) -> bool:
    """Ask the process that runs the sweep to let a trial go on that was set aside.

    Waits at most ``wait`` seconds. True once it is on record that it goes on, which it then does before any other as
    soon as there is room; False where the process has not taken the request up yet: it does when a trial next reports.

    Raises UsageError where nobody runs the sweep, there is no such trial or it is not set aside; SweepError where the
    sweep came to its end meanwhile.
    """
    run = find(name, runs)
    state = read_state(run)
    _require_trial(state, name, trial)
    known = state.trials[trial]
    if known.status in ("set_aside", "interrupted"):
        _who_runs(run, name)
    if known.status != "set_aside":
        why, hint = _WHY_NOT[known.status]
        raise UsageError(f"trial {trial} of {name!r} cannot be promoted: {why}", hint=hint)
    run.ask(request := run.promote_request(trial))
    answered = _waited(lambda: request.name not in run.asked() or not holder(run.journal), wait)
    found = read_state(run).trials[trial]
    if len(found.promotions) > len(known.promotions):
        return True
    if answered:
        raise SweepError(f"trial {trial} of {name!r} does not go on: it is {found.status.replace('_', ' ')} now")
    return False


def _who_runs(run: RunDirectory, name: str) -> str:
    asked = holder(run.journal)
    if not asked:
        raise UsageError(f"nobody runs {name!r}", hint=f"resume it: sweep resume {name}")
    return str(asked)


def _require_trial(state: SweepState, name: str, trial: int) -> None:
    if trial not in state.trials:
        raise UsageError(f"{name!r} has no trial {trial}", hint=f"it has trials 0 to {len(state.trials) - 1}")


def _waited(done: Callable[[], bool], seconds: float) -> bool:
    """Whether it was done within that time."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
