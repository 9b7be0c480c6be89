"""The winner of a sweep, and where its checkpoint is: that of the finals, once they have confirmed one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.results.run_state import has_begun, read_state
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
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


_SEGMENT = re.compile(r"-segment=(\d+)\.ckpt$")


@dataclass(frozen=True)
class Stage:
    """Training by one trial with one set of parameters, up to the end of epoch ``until``, counted from 1.

    The first stage starts afresh, each later one from the checkpoint that the one before it ends with.
    """

    trial: int
    seed: int
    until: int
    model: dict[str, Any]
    data: dict[str, Any] | None
    trainer: dict[str, Any]


def lineage(won: Winner) -> list[Stage]:
    """The stages of a winner's weights: one, but where trials took over the weights of others on the way."""
    spec = SweepSpec.model_validate(won.state.spec)
    segment = won.trial.reports[won.best.epoch].segment
    return _stages(spec, won.state, won.trial, won.best.epoch, segment)


def _stages(spec: SweepSpec, state: SweepState, trial: Trial, epoch: int, segment: int) -> list[Stage]:
    taken = next((on for on in reversed(trial.takeovers) if on.segment <= segment), None)
    before: list[Stage] = []
    if taken:
        donor, held = state.trials[taken.donor], taken.checkpoint
        before = _stages(spec, state, donor, held.epoch, _segment(held))
    model, data, trainer = apply(spec, taken.params if taken else trial.suggested)
    described = (model.model_dump(), data.model_dump() if data else None, dict(trainer))
    stage = Stage(trial.number, trial_seed(spec.seed, trial.number), epoch, *described)
    return [*before, stage]


def _segment(held: Checkpoint) -> int:
    """Which segment wrote it: its file is named after that."""
    found = _SEGMENT.search(held.path)
    return int(found[1]) if found else 0
