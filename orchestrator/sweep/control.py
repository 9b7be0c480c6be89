"""Requests to the process that runs a sweep: stop it, stop a trial, promote a trial."""

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

# Status of a trial that cannot be promoted -> why, and what to do instead.
_NOT_PROMOTABLE = {
    "running": ("it is running", "the scheduler decides at its next rung"),
    "interrupted": ("it resumes by itself once a slot is free", "sweep status shows the run's progress"),
    "finished": ("it has finished", "more epochs for the whole sweep: sweep extend --epochs"),
    "stopped": ("it was stopped, and a stopped trial stays ended", "sweep why --trial names the rule that stopped it"),
    "failed": ("it has failed", "retry it: sweep retry --trial"),
}


def stop(name: str, runs: str | Path | None = None, *, trial: int | None = None, wait: float = 60.0) -> str:
    """Ask the process that runs a sweep to stop it, or to stop one trial, and wait until it has.

    A running trial stops after its next batch; on TPU slices at its next report. If the search has ended and its finals
    run, the finals are stopped.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        trial: number of a trial; by default the sweep stops.
        wait: seconds to wait at most.

    Returns:
        The process that ran the sweep, by host and number.

    Raises:
        UsageError: No process runs the sweep, or there is no such trial.
        SweepError: The stop takes longer than ``wait``; it will still happen.
    """
    run = find(name, runs)
    state = read_state(run)
    if state.finals_open and not holder(run.journal):
        run = finals_of(run, state)
    driver = _require_driver(run, name)
    if trial is not None:
        _require_trial(read_state(run), name, trial)
    run.add_request(request := run.stop_request(trial))

    def is_stopped() -> bool:
        return not holder(run.journal) or (trial is not None and request.name not in run.pending_requests())

    if not _wait_until(is_stopped, wait):
        subject = repr(name) if trial is None else f"trial {trial}"
        raise SweepError(f"{subject} has not stopped in {wait:g} s, but will; {name!r} is run by {driver}")
    return driver


def promote(name: str, runs: str | Path | None = None, *, trial: int, wait: float = 3.0) -> bool:
    """Ask the process that runs a sweep to promote a trial that was set aside.

    A promoted trial resumes before any other as soon as a slot is free.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        trial: number of the trial.
        wait: seconds to wait at most for the promotion to be recorded.

    Returns:
        True once the promotion is recorded; False if the process has not read the request yet, which it does when a
        trial next reports.

    Raises:
        UsageError: No process runs the sweep, there is no such trial, or it is not set aside.
        SweepError: The sweep ended the trial meanwhile.
    """
    run = find(name, runs)
    state = read_state(run)
    _require_trial(state, name, trial)
    before = state.trials[trial]
    if before.status in ("set_aside", "interrupted"):
        _require_driver(run, name)
    if before.status != "set_aside":
        why, hint = _NOT_PROMOTABLE[before.status]
        raise UsageError(f"trial {trial} of {name!r} cannot be promoted: {why}", hint=hint)
    run.add_request(request := run.promote_request(trial))
    closed = _wait_until(lambda: request.name not in run.pending_requests() or not holder(run.journal), wait)
    after = read_state(run).trials[trial]
    if len(after.promotions) > len(before.promotions):
        return True
    if closed:
        status = after.status.replace("_", " ")
        raise SweepError(f"trial {trial} of {name!r} was not promoted: it is {status} now")
    return False


def _require_driver(run: RunDirectory, name: str) -> str:
    driver = holder(run.journal)
    if not driver:
        raise UsageError(f"no process runs {name!r}", hint=f"resume it: sweep resume {name}")
    return str(driver)


def _require_trial(state: SweepState, name: str, trial: int) -> None:
    if trial not in state.trials:
        raise UsageError(f"{name!r} has no trial {trial}", hint=f"it has trials 0 to {len(state.trials) - 1}")


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition holds within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
