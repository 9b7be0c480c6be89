"""Canaries for the private parts of Optuna in use: a failure names the installed and the last tested version."""

from __future__ import annotations

import inspect

import optuna
import pytest
from optuna.storages import InMemoryStorage

from orchestrator.optuna_studies import compat_optuna as compat


def test_a_storage_lists_studies_in_the_class_that_the_dashboard_makes() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="canary", direction="maximize")
    (frozen,) = storage.get_all_studies()
    assert type(frozen) is compat.FrozenStudy, compat.version_hint()
    ours = compat.FrozenStudy(
        study_name="canary",
        direction=None,
        directions=study.directions,
        user_attrs={},
        system_attrs={},
        study_id=frozen._study_id,
    )
    assert ours == frozen, compat.version_hint()


def test_the_arguments_of_a_frozen_study_are_those_in_use() -> None:
    names = set(inspect.signature(compat.FrozenStudy).parameters)
    needed = {"study_name", "direction", "directions", "user_attrs", "system_attrs", "study_id"}
    assert needed <= names, f"FrozenStudy takes {sorted(names)}; {compat.version_hint()}"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_metric_names_are_kept_where_the_dashboard_reads_them() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    study.set_metric_names(["accuracy"])
    (frozen,) = storage.get_all_studies()
    assert frozen.system_attrs.get(compat.METRIC_NAMES) == ["accuracy"], compat.version_hint()
