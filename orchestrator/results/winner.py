"""The winner of a sweep, its checkpoint, and how its weights were trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.progress import EPOCHS, place
from orchestrator.results.run_state import has_begun, read_state
from orchestrator.rundir import RunDirectory, is_run_name
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import Best, Checkpoint, SweepState, Trial, spec_in_force

_SEGMENT = re.compile(r"-segment=(\d+)\.ckpt$")


@dataclass(frozen=True)
class Winner:
    """A trial at its best report, with that report's checkpoint.

    ``run`` and ``state`` belong to the sweep that trained it: that of the finals if ``confirmed``, else the search.
    """

    run: RunDirectory
    state: SweepState
    trial: Trial
    best: Best
    checkpoint: Checkpoint
    confirmed: bool = False

    @property
    def epoch(self) -> float:
        """The epochs trained by its best report, a fraction within one."""
        return self.trial.reports[self.best.progress].epoch

    @property
    def progress(self) -> dict[str, Any]:
        """The best report's ``progress`` and ``unit`` for a record; nothing where it is the epoch."""
        unit = self.state.unit
        return {"progress": self.best.progress, "unit": unit} if unit != EPOCHS else {}

    @property
    def title(self) -> str:
        """Words for people: ``trial 7, epoch 12`` or ``trial 7, step 500``."""
        where = " of the finals" if self.confirmed else ""
        return f"trial {self.trial.number}{where}, {place(self.best.progress, self.state.unit)}"


def finals_of(run: RunDirectory, state: SweepState) -> RunDirectory:
    """Return the run directory of the finals: the open ones, or else those that would be held next.

    They are named after the sweep file's name, so that a run keeps them when it is renamed, or else after the run.
    """
    number = finals_number(state)
    recorded = state.spec.get("name")
    names = dict.fromkeys([*([str(recorded)] if is_run_name(recorded) else []), run.name])
    finals = [run.child_run(f"{name[:80]}-finals{'' if number == 1 else f'-{number}'}") for name in names]
    return next((each for each in finals[1:] if each.exists() and not finals[0].exists()), finals[0])


def finals_number(state: SweepState) -> int:
    """Return the number of the open finals, or else of the next ones, counted from 1."""
    return state.finals if state.finals_open else state.finals + 1


def confirmed_finals(run: RunDirectory, state: SweepState) -> RunDirectory:
    """Return the run directory of the finals that have confirmed a winner. Raises UsageError if it was deleted."""
    finals = finals_of(run, state)
    if not has_begun(finals):
        assert state.confirmation is not None
        hint = f"select a trial of the search instead: --trial {state.confirmation['winner']['configuration']}"
        raise UsageError(f"the finals of {run.name!r} were deleted: {finals.where}", hint=hint)
    return finals


def winner(run: RunDirectory, state: SweepState, number: int | None = None) -> Winner:
    """Return the confirmed winner, or the best trial if none is confirmed; with ``number`` that trial of the search.

    Raises:
        UsageError: If there is no such trial, or its checkpoint was not kept.
    """
    if number is None and state.confirmation:
        finals = confirmed_finals(run, state)
        return _at_best_report(finals, read_state(finals), state.confirmation["winner"]["trial"], confirmed=True)
    best = state.winner() if number is None else state.trials.get(number)
    if best is None:
        problem = "no trial has a finite value yet" if number is None else f"there is no trial {number}"
        raise UsageError(f"{run.name!r}: {problem}", hint=f"list the trials: sweep results {run.name}")
    return _at_best_report(run, state, best.number, confirmed=False)


def _at_best_report(run: RunDirectory, state: SweepState, number: int, *, confirmed: bool) -> Winner:
    trial = state.trials[number]
    best = state.objective.best(trial)
    checkpoint = trial.checkpoints.get(best.progress) if best else None
    if best is None or checkpoint is None:
        hint = "only the best trials keep their checkpoints; raise checkpoints.keep_top for the next sweep"
        if not any(each.checkpoints for each in state.trials.values()):
            hint = "the code saves none; call orchestrator.checkpoint before each report"
        raise UsageError(f"trial {number} of {run.name!r} has no checkpoint of its best report", hint=hint)
    return Winner(run, state, trial, best, checkpoint, confirmed)


def settings(won: Winner) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Return model, data and Trainer arguments with the parameters that the winner has at its best report."""
    spec, trial = spec_in_force(won.state), won.trial
    return _settings(spec, trial, trial.params_at(won.best.progress))


def _settings(
    spec: SweepSpec, trial: Trial, params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Return the same for any parameters; a function or a script also has the trial's number and seed."""
    model, data, trainer = apply(spec, params)
    own = {"trial": trial.number, "seed": trial_seed(spec.seed, trial.number)} if spec.is_code else {}
    return {**model.model_dump(), **own}, data.model_dump() if data else None, trial.as_trained(trainer)


@dataclass(frozen=True)
class Stage:
    """Training by one trial with one set of parameters, up to the end of epoch ``until``, counted from 1.

    The first stage starts from initial weights, each later one from the last checkpoint of the stage before.
    """

    trial: int
    seed: int
    until: float
    model: dict[str, Any]
    data: dict[str, Any] | None
    trainer: dict[str, Any]


def lineage(won: Winner) -> list[Stage]:
    """Return the stages that produced a winner's weights, first to last.

    There is one, unless trials took over the weights of other trials (PBT, PB2).
    """
    spec = spec_in_force(won.state)
    segment = won.trial.reports[won.best.progress].segment
    return _stages(spec, won.state, won.trial, won.best.progress, segment)


def _stages(spec: SweepSpec, state: SweepState, trial: Trial, progress: float, segment: int) -> list[Stage]:
    takeover = next((candidate for candidate in reversed(trial.takeovers) if candidate.segment <= segment), None)
    earlier: list[Stage] = []
    if takeover:
        donor, checkpoint = state.trials[takeover.donor], takeover.checkpoint
        earlier = _stages(spec, state, donor, checkpoint.progress, _segment_of(checkpoint))
    trained = _settings(spec, trial, takeover.params if takeover else trial.suggested)
    until = trial.reports[progress].epoch if progress in trial.reports else progress
    stage = Stage(trial.number, trial_seed(spec.seed, trial.number), until, *trained)
    return [*earlier, stage]


def _segment_of(checkpoint: Checkpoint) -> int:
    """Return the segment that wrote a checkpoint, which its file name holds."""
    match = _SEGMENT.search(checkpoint.path)
    return int(match[1]) if match else 0
