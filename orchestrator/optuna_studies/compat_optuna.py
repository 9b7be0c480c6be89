"""Every private or undocumented part of Optuna that this package uses.

``tests/test_compat_optuna.py`` checks each one; a failure names the installed version of Optuna and `LAST_TESTED`.
"""

from __future__ import annotations

from importlib.metadata import version

from optuna.study._frozen import FrozenStudy

__all__ = ["LAST_TESTED", "METRIC_NAMES", "FrozenStudy", "version_hint"]

LAST_TESTED = "5.0.0"
"""The last version of Optuna that these parts are tested with."""

METRIC_NAMES = "study:metric_names"
"""The system attribute in which ``Study.set_metric_names`` keeps the names."""


def version_hint() -> str:
    """Return the installed version of Optuna and the last tested one, for an error's hint."""
    return f"optuna {version('optuna')} is installed; the last version tested is {LAST_TESTED}"
