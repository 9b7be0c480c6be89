"""Requests to the process that runs a sweep: stop it, stop a trial, promote a trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import holder
from orchestrator.results.run_state import find, read_state
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.stop_times import is_later_stop
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
    run = _running(find(name, runs))
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


def stop_later(
    name: str | None = None, runs: str | Path | None = None, *, drain: bool = False, at: datetime | None = None
) -> str:
    """Ask the process that runs a sweep to stop it at a time, or after the running trials' next reports; do not wait.

    With ``drain`` each running trial trains to its next report and saves it, and no other trial starts: no step is
    lost. Without, the sweep stops at that time as `stop` stops it now.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        drain: stop after the running trials' next reports.
        at: when to begin; by default now. Without a time zone it is this machine's local time.

    Returns:
        The process that runs the sweep, by host and number.

    Raises:
        UsageError: No process runs the sweep, or the time has passed.
    """
    run = _running(find(name, runs))
    driver = _require_driver(run, run.name)
    if at is not None and at.timestamp() <= time.time():
        raise UsageError(f"{at:%Y-%m-%d %H:%M} has passed", hint="specify a later time: --at 18:00, or --at 2h")
    run.add_request(run.later_stop_request(drain=drain, at=None if at is None else math.ceil(at.timestamp())))
    return driver


def cancel_stop(name: str | None = None, runs: str | Path | None = None) -> int:
    """Take back the requests to stop a sweep at a later time, and return how many there were."""
    run = _running(find(name, runs))
    later = [name for name in run.pending_requests() if is_later_stop(name)]
    for request in later:
        run.remove_request(run.requests / request)
    return len(later)


def _running(run: RunDirectory) -> RunDirectory:
    """Return the run, or its finals if the search has ended and they are open."""
    state = read_state(run)
    return finals_of(run, state) if state.finals_open and not holder(run.journal) else run


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
        ended = read_state(run).status == "completed"
        hint = f"it has ended; continue it: sweep extend {name}" if ended else f"resume it: sweep resume {name}"
        raise UsageError(f"no process runs {name!r}", hint=hint)
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
