"""The write side: launch, resume, extend, stop; confirm the winner, and test it."""

from orchestrator.sweep.alone import launch_alone
from orchestrator.sweep.confirming import confirm
from orchestrator.sweep.python import Sweep
from orchestrator.sweep.requests import promote, stop
from orchestrator.sweep.running import Outcome, extend, launch, resume
from orchestrator.sweep.sealed import Look, look
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
