"""The winner of a sweep, and where its checkpoint is: that of the finals, once they have confirmed one."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.results.trial_rows import has_begun, read_state
from orchestrator.rundir import RunDirectory
from orchestrator.state import Best, Checkpoint, SweepState, Trial


@dataclass(frozen=True)
class Winner:
    """A trial at its best epoch, with the checkpoint of that. ``run`` and ``state`` are those of the trial's own sweep.

    That is the sweep of the finals for a confirmed winner, as ``confirmed`` says.
    """

    run: RunDirectory
    state: SweepState
    trial: Trial
    best: Best
    checkpoint: Checkpoint
    confirmed: bool = False

    @property
    def title(self) -> str:
        """For people: ``trial 7, epoch 12``."""
        where = " of the finals" if self.confirmed else ""
        return f"trial {self.trial.number}{where}, epoch {self.best.epoch}"


def finals_of(run: RunDirectory, state: SweepState) -> RunDirectory:
    """Where the finals run that were begun since the search last went on, or else the next ones."""
    number = finals_number(state)
    return run.within(f"{run.name[:80]}-finals{'' if number == 1 else f'-{number}'}")


def finals_number(state: SweepState) -> int:
    """Which finals of the search these are, from 1."""
    return state.finals if state.finals_open else state.finals + 1


def winner(run: RunDirectory, state: SweepState, number: int | None = None) -> Winner:
    """The confirmed winner; where none is, the best trial; with ``number`` that trial of the search.

    Raises UsageError where there is none, or its checkpoint was not kept.
    """
    if number is None and state.confirmation:
        finals, found = finals_of(run, state), state.confirmation["winner"]
        if not has_begun(finals):
            hint = f"a trial of the search can be had all the same: --trial {found['configuration']}"
            raise UsageError(f"the finals of {run.name!r} are gone: {finals.where}", hint=hint)
        return _at_its_best(finals, read_state(finals), found["trial"], confirmed=True)
    best = state.winner() if number is None else state.trials.get(number)
    if best is None:
        what = "no trial has a finite value yet" if number is None else f"there is no trial {number}"
        raise UsageError(f"{run.name!r}: {what}", hint=f"see what there is: sweep results {run.name}")
    return _at_its_best(run, state, best.number, confirmed=False)


def _at_its_best(run: RunDirectory, state: SweepState, number: int, *, confirmed: bool) -> Winner:
    trial = state.trials[number]
    best = state.objective.best(trial)
    kept = trial.checkpoints.get(best.epoch) if best else None
    if best is None or kept is None:
        raise UsageError(
            f"trial {number} of {run.name!r} has no checkpoint of its best epoch",
            hint="only the best trials keep theirs: checkpoints.keep_top",
        )
    return Winner(run, state, trial, best, kept, confirmed)
