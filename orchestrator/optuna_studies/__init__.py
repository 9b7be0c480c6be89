"""Sweeps as Optuna studies: a journal as a read-only storage, and a copy of it in a storage of Optuna's own.

`optuna_trials` and `optuna_mirror` translate trials and sweeps. `optuna_storage` serves them.
`study_export` copies one.
"""

from orchestrator.optuna_studies.optuna_mirror import Sweeps
from orchestrator.optuna_studies.optuna_storage import JournalStorage

__all__ = ["JournalStorage", "Sweeps"]
