"""Keep order among runs: rename one, remove it, or free the space of its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JournalError, RunHeldError, UsageError
from orchestrator.journal import Journal, holder
from orchestrator.results.run_state import has_begun, read_state
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.state import Checkpoint, SweepState


@dataclass(frozen=True)
class Freed:
    """What the removal of checkpoints has freed.

    Attributes:
        files: checkpoints removed.
        bytes: their size.
        kept: why each that stays was kept, by its path.

    Example:
        ```python
        freed = Sweep.attach("quickstart").remove_checkpoints()
        print(freed.files, freed.bytes)
        ```
    """

    files: int
    bytes: int
    kept: dict[str, str]


def rename(run: RunDirectory, name: str) -> RunDirectory:
    """Give a run another name in its folder, and return it.

    A process that takes the run's lease meanwhile finds it gone and writes nothing: see `orchestrator.journal.lease`.

    Raises:
        UsageError: The name cannot be used or is taken, or the run cannot be renamed.
        RunHeldError: A process writes the run.
        OSError: It cannot be renamed.
    """
    run_at(name, run.runs)  # checks the name
    _require_idle(run)
    try:
        return run.rename(name)
    except FileExistsError:
        raise UsageError(f"{name!r} exists already in {run.runs}", hint="specify another name") from None


def remove(run: RunDirectory) -> list[str]:
    """Remove a run with all its files, exported bundles included.

    Checkpoints in a folder that a link leads to are removed, too, unless they may belong to another trial or run.

    Returns:
        The checkpoints that were left for that reason, as paths of the run.

    Raises:
        UsageError: The run directory is a link.
        RunHeldError: A process writes the run.
        OSError: It cannot be removed.
    """
    _require_idle(run)
    left = []
    for path in [path for path in run.checkpoints() if run.is_linked(path)]:
        try:
            run.remove(path)
        except PermissionError:
            left.append(path)
    run.remove_all()
    return left


def remove_checkpoints(run: RunDirectory) -> Freed:
    """Remove a run's checkpoints but those that a command may still need, and record that in its journal.

    Kept are the winner's, in the search and in its finals, and those that trials of an unfinished run resume from.

    Raises:
        RunHeldError: A process writes the run.
        JournalError: The journal is damaged.
        OSError: A checkpoint cannot be removed; that it may be is on record, and the next launch removes it.
    """
    freed = [_remove_checkpoints(each) for each in _with_finals(run)]
    kept = {path: reason for each in freed for path, reason in each.kept.items()}
    return Freed(sum(each.files for each in freed), sum(each.bytes for each in freed), kept)


def _remove_checkpoints(run: RunDirectory) -> Freed:
    _require_idle(run)
    journal = Journal.open(run.journal)
    try:
        state = SweepState(journal.events())
        needed = _needed(state)
        held = [(trial.number, at, file) for trial in state.trials.values() for at, file in trial.checkpoints.items()]
        removed = [(number, at, file) for number, at, file in held if file.path not in needed]
        interims = [
            (trial.number, trial.interim)
            for trial in state.trials.values()
            if trial.interim is not None and trial.interim.path not in needed
        ]
        files = [file for *_, file in removed] + [file for _, file in interims]
        if files:
            pairs = [[number, at] for number, at, _ in removed]
            fields: dict[str, Any] = {"interim": [number for number, _ in interims]} if interims else {}
            journal.append("checkpoints.removed", removed=pairs, **fields)
        for file in files:
            run.remove(file.path)
    finally:
        journal.close()
    return Freed(len(files), sum(file.size for file in files), needed)


def _needed(state: SweepState) -> dict[str, str]:
    """Return the checkpoints that stay, with the reason of each."""
    needed: dict[str, str] = {}
    if state.status != "completed":
        for trial in state.trials.values():
            if trial.status in ("running", "interrupted", "set_aside", "failed"):
                needed |= {file.path: f"trial {trial.number} resumes from it" for file in trial.restart_checkpoints}
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    file: Checkpoint | None = winner.checkpoints.get(best.progress) if winner and best else None
    return needed | ({file.path: "the winner's"} if file else {})


def _with_finals(run: RunDirectory) -> Iterator[RunDirectory]:
    """Yield the run, and its last finals if they have begun."""
    yield run
    state = read_state(run)
    finals = finals_of(run, state)
    if has_begun(finals):
        yield finals


def _require_idle(run: RunDirectory) -> None:
    """Raise RunHeldError if a process writes the run or its finals."""
    for each in _with_finals_or_alone(run):
        if writer := holder(each.journal):
            raise RunHeldError(f"the run {run.name!r} is run by {writer}", hint=f"stop it first: sweep stop {run.name}")


def _with_finals_or_alone(run: RunDirectory) -> list[RunDirectory]:
    """Return the run and its finals; the run alone if its journal cannot be read, so that it can be removed."""
    try:
        return list(_with_finals(run))
    except JournalError:
        return [run]
