"""The write side: launch, resume, retry, extend, stop and promote; confirm the winner and test it."""

from orchestrator.sweep.api import Sweep
from orchestrator.sweep.callbacks import Callback, TrialInfo
from orchestrator.sweep.confirm import confirm
from orchestrator.sweep.control import promote, stop
from orchestrator.sweep.execution import Outcome
from orchestrator.sweep.lifecycle import extend, launch, launch_without_ray, resume, retry
from orchestrator.sweep.test_set import WinnerTest, test
from orchestrator.tracking import send

__all__ = [
    "Callback",
    "Outcome",
    "Sweep",
    "TrialInfo",
    "WinnerTest",
    "confirm",
    "extend",
    "launch",
    "launch_without_ray",
    "promote",
    "resume",
    "retry",
    "send",
    "stop",
    "test",
]
