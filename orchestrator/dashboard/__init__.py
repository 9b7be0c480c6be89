"""Sweeps in optuna-dashboard: their journals as Optuna studies, read-only, on the loopback interface.

`optuna_trials` and `optuna_mirror` translate trials and sweeps, `optuna_storage` serves them to the dashboard, and
`server` runs it.
"""

from orchestrator.dashboard.optuna_mirror import Sweeps
from orchestrator.dashboard.server import Server

__all__ = ["Server", "Sweeps"]
