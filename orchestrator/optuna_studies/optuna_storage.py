"""Serve sweeps to Optuna as a read-only storage."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.optuna_studies.compat_optuna import METRIC_NAMES, FrozenStudy
from orchestrator.optuna_studies.optuna_mirror import TRIALS, Study, Sweeps


class JournalStorage(BaseStorage):
    """Sweeps as studies. A trial may change after its end (a retry, an extension), which Optuna's storages refuse."""

    def __init__(self, sweeps: Sweeps) -> None:
        self._sweeps = sweeps

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return every sweep, with what is new in its journal."""
        self._sweeps.refresh()
        return [self._frozen(study) for study in self._sweeps.studies()]

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the study's number."""
        return self._named(study_name).number

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name."""
        return self._study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the directions of its objectives."""
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's attributes."""
        return self._study(study_id).attributes

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the names of its objectives."""
        return {METRIC_NAMES: self._study(study_id).metrics}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        return self._study(trial_id // TRIALS).trials[trial_id % TRIALS]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials.

        Without ``deepcopy`` and ``states`` that is the study's own list, which grows.
        """
        self._sweeps.refresh()
        trials = self._study(study_id).trials
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the winner of our ranking.

        Raises:
            ValueError: If no trial has a value yet.
        """
        self._sweeps.refresh()
        best = self._study(study_id).best
        if best is None:
            raise ValueError("no trial has a value yet")
        return best

    def _named(self, name: str) -> Study:
        study = next((each for each in self._sweeps.studies() if each.name == name), None)
        if study is None:
            raise KeyError(f"there is no study {name!r}")
        return study

    def _study(self, study_id: int) -> Study:
        study = next((each for each in self._sweeps.studies() if each.number == study_id), None)
        if study is None:
            raise KeyError(f"there is no study {study_id}")
        return study

    def _frozen(self, study: Study) -> FrozenStudy:
        notes = {METRIC_NAMES: study.metrics}
        return FrozenStudy(study.name, None, study.attributes, notes, study.number, directions=study.directions)

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a study of a sweep is read-only; only the process that runs the sweep can change it")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse
