"""The write side: launch, resume, stop."""

from orchestrator.sweep.python import Sweep
from orchestrator.sweep.requests import stop
from orchestrator.sweep.running import Outcome, extend, launch, resume

__all__ = ["Outcome", "Sweep", "extend", "launch", "resume", "stop"]
