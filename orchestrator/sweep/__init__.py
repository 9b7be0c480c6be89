"""The write side: launch, resume, extend, stop; confirm the winner, and test it."""

from orchestrator.sweep.api import Sweep
from orchestrator.sweep.confirm import confirm
from orchestrator.sweep.control import promote, stop
from orchestrator.sweep.lifecycle import Outcome, extend, launch, resume
from orchestrator.sweep.no_ray import launch_alone
from orchestrator.sweep.test_set import Look, look
from orchestrator.tracking import send

__all__ = [
    "Look",
    "Outcome",
    "Sweep",
    "confirm",
    "extend",
    "launch",
    "launch_alone",
    "look",
    "promote",
    "resume",
    "send",
    "stop",
]
