"""Fault injection: run a simulated sweep through crashes, lost nodes and full disks. Nothing else imports this room.

from orchestrator.testing import Faults, simulate
ran = simulate(spec, faults=Faults(crash=0.05, lost=0.1), slots=4, seed=1)
assert not ran.violations
"""

from orchestrator.engine.simulator import events
from orchestrator.testing.faults import CALM, Crash, Faults
from orchestrator.testing.faulty_simulator import Simulated, simulate

__all__ = ["CALM", "Crash", "Faults", "Simulated", "events", "simulate"]
