"""Find a run and replay its journal into a state."""

from __future__ import annotations

import difflib
import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import JournalError, RunStartingError, UsageError
from orchestrator.journal import holder, read, spec_problem
from orchestrator.object_storage import is_url
from orchestrator.rundir import RunDirectory, is_run, list_runs, run_at, run_of, runs_root
from orchestrator.rundir.labels import read_labels
from orchestrator.rundir.startup import phases_text, starting
from orchestrator.state import SweepState

_SHOWN = 5


def find(name: str | Path | None = None, runs: str | Path | None = None) -> RunDirectory:
    """Return the run that a user names.

    Args:
        name: its name, a beginning of it that only one run has, a path of its directory (or of a file in that), or its
            URL. By default it is the newest run that is not archived.
        runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.

    Raises:
        UsageError: If there is none, or several are meant; the hint lists the nearest names.
    """
    if name is None:
        return _newest(runs)
    if not isinstance(name, Path) and is_url(name):
        return _existing(run_of(name.rstrip("/")))
    if isinstance(name, Path) or "/" in name or name in (".", "..", "~"):
        path = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100 (`absolute` keeps "..")
        return _existing(RunDirectory(path.parent if path.is_file() else path))
    run = run_at(name, runs)
    return run if is_run(run) else _nearly_named(name, runs)


def _newest(runs: str | Path | None) -> RunDirectory:
    listed = list_runs(runs)
    newest = next((run for run in reversed(listed) if not read_labels(run).archived), None)
    if newest is None:
        names = f"all are archived; name one of {_few(listed)}" if listed else "launch one: sweep launch quickstart"
        raise UsageError(f"there is no run in {runs_root(runs)}", hint=names)
    return newest


def _existing(run: RunDirectory) -> RunDirectory:
    """Return a run that was given by its place. Raises UsageError if there is none."""
    if not is_run(run):
        nearest = _nearest(run.name, list_runs(run.runs))
        hint = f"runs near it: {_few(nearest)}" if nearest else "a run's directory holds its journal"
        raise UsageError(f"there is no run at {run.where}", hint=hint)
    return run


def _nearly_named(name: str, runs: str | Path | None) -> RunDirectory:
    """Return the only run whose name begins so, or else the run of that name in the present folder."""
    listed = list_runs(runs)
    begin = [run for run in listed if run.name.startswith(name)]
    if len(begin) == 1:
        return begin[0]
    if begin:
        raise UsageError(f"{len(begin)} runs begin with {name!r}", hint=f"name one of them: {_few(begin)}")
    here = RunDirectory(Path(name).absolute())
    if here.exists():
        return here
    nearest = _nearest(name, listed)
    hint = f"did you mean {_few(nearest)}?" if nearest else f"runs here: {_few(listed) or 'none'}"
    raise UsageError(f"there is no run {name!r} in {runs_root(runs)}", hint=hint)


def _nearest(name: str, listed: Sequence[RunDirectory]) -> list[RunDirectory]:
    similar = difflib.get_close_matches(name, [run.name for run in listed], n=3)
    return [run for close in reversed(similar) for run in listed if run.name == close]


def _few(listed: Sequence[RunDirectory]) -> str:
    """Return the names, the last first, and how many more there are."""
    names = [repr(run.name) for run in reversed(listed)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def read_state(run: RunDirectory) -> SweepState:
    """Replay the journal of a run.

    The status is ``interrupted`` if the journal says ``running`` and no process holds its lease.

    Raises:
        RunStartingError: If the run is being started and has no record yet.
        JournalError: If the journal is damaged, or torn within its first record.
    """
    if (phases := starting(run)) and not has_begun(run):
        raise RunStartingError(
            f"{run.name!r} is being started: {phases_text(phases)}",
            hint=f"follow it: sweep watch {run.name}; or repeat this once its first trial runs",
        )
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
