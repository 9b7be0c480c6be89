"""Sweeps in optuna-dashboard: their journals shown as Optuna studies, on this machine alone, and only to be read.

`distributions` and `trials` say a trial in Optuna's words, `study` a sweep and `sweeps` all that are shown; `storage`
is where the dashboard looks for them, and `server` the dashboard itself.
"""

from orchestrator.dashboard.optuna_mirror import Sweeps
from orchestrator.dashboard.server import Server

__all__ = ["Server", "Sweeps"]
