"""A study that Optuna's samplers look at: its trials are the journal's, and what a sampler notes in it is set apart.

Optuna's samplers keep their state in the study (its trials and their system attributes), so that many processes can
work on one. That makes them replayable: each suggestion is asked of a new sampler, as of a process that just joined.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)


def frozen(
    number: int, params: Mapping[str, Any], distributions: Mapping[str, Any], *, state: TrialState,
    values: Sequence[float] | None = None, reached: tuple[int, float] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:  # fmt: skip
    """A trial as Optuna holds it; ``reached`` is the last epoch and the loss there."""
    return FrozenTrial(
        number=number, trial_id=number, state=state, value=None, values=values, datetime_start=None,
        datetime_complete=None, params=dict(params), distributions={name: distributions[name] for name in params},
        user_attrs={}, system_attrs=dict(notes or {}), intermediate_values=dict([reached] if reached else []),
    )  # fmt: skip


class Shelf(BaseStorage):
    """What one question to a sampler may read and write: trials, and notes on trials and on the study.

    ``trial_notes`` and ``study_notes`` hold what was written. Of trials, the ``current`` one, which is asked for or
    told, is the only one whose notes are seen at once.
    """

    def __init__(
        self, trials: list[FrozenTrial], current: FrozenTrial, study_notes: Mapping[str, Any], goals: int
    ) -> None:
        self._trials, self._current, self._goals = trials, current, goals
        self._study_notes = dict(study_notes)
        self.study_notes: dict[str, Any] = {}
        self.trial_notes: dict[int, dict[str, Any]] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return next(trial for trial in reversed(self._trials) if trial.number == trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return {**self.get_trial(trial_id).system_attrs, **self.trial_notes.get(trial_id, {})}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.trial_notes.setdefault(trial_id, {})[key] = value
        if trial_id == self._current.number:
            self._current.system_attrs[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {**self._study_notes, **self.study_notes}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.study_notes[key] = value

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE] * self._goals

    def get_study_id_from_name(self, study_name: str) -> int:
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        return "sweep"

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            "a sampler may look at trials and note things; the journal alone begins and ends them"
        )

    create_new_study = delete_study = create_new_trial = get_all_studies = _refuse
    set_study_user_attr = set_trial_user_attr = set_trial_param = _refuse
    set_trial_state_values = set_trial_intermediate_value = _refuse


class Study(optuna.Study):
    """A study over a shelf. A sampler that has tried everything calls ``stop``: it is ``over``."""

    def __init__(self, shelf: Shelf, sampler: Any) -> None:
        super().__init__("sweep", shelf, sampler=sampler, pruner=optuna.pruners.NopPruner())
        self.over = False

    def stop(self) -> None:
        self.over = True
