"""The study that Optuna's samplers read: its trials are the journal's, and a sampler's notes are kept apart.

Optuna's samplers keep their state in the study (its trials and their system attributes), so that many processes can
work on one. So they can be replayed: a new sampler makes each suggestion, as in a process that just joined.
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
    values: Sequence[float] | None = None, notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:  # fmt: skip
    """Return a trial as Optuna has it."""
    return FrozenTrial(
        number=number, trial_id=number, state=state, value=None, values=values, datetime_start=None,
        datetime_complete=None, params=dict(params), distributions={name: distributions[name] for name in params},
        user_attrs={}, system_attrs=dict(notes or {}), intermediate_values={},
    )  # fmt: skip


class EventStorage(BaseStorage):
    """What a sampler may read and write for one suggestion: trials, and notes on trials and on the study.

    ``trial_notes`` and ``study_notes`` hold what it wrote. It reads its new notes on the ``current`` trial at once,
    those on other trials the next time.
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
        """Return the trials."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the latest trial of that number."""
        return next(trial for trial in reversed(self._trials) if trial.number == trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return the notes on a trial."""
        return {**self.get_trial(trial_id).system_attrs, **self.trial_notes.get(trial_id, {})}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something on a trial."""
        self.trial_notes.setdefault(trial_id, {})[key] = value
        if trial_id == self._current.number:
            self._current.system_attrs[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the notes on the study."""
        return {**self._study_notes, **self.study_notes}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something on the study."""
        self.study_notes[key] = value

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return that each loss is minimized."""
        return [StudyDirection.MINIMIZE] * self._goals

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return 0, as there is one study."""
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name."""
        return "sweep"

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return nothing, as the journal has none."""
        return {}

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a sampler may read trials and write notes; only the journal begins and ends trials")

    create_new_study = delete_study = create_new_trial = get_all_studies = _refuse
    set_study_user_attr = set_trial_user_attr = set_trial_param = _refuse
    set_trial_state_values = set_trial_intermediate_value = _refuse


class Study(optuna.Study):
    """A study over the journal's trials. ``stopped`` once a sampler that has tried everything calls `stop`."""

    def __init__(self, storage: EventStorage, sampler: Any) -> None:
        super().__init__("sweep", storage, sampler=sampler, pruner=optuna.pruners.NopPruner())
        self.stopped = False

    def stop(self) -> None:
        """Note that there is nothing more to suggest."""
        self.stopped = True
