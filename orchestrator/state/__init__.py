"""The state of a sweep, computed from its journal: trials, reports, checkpoints, failures, the ranking.

`sweep_state` applies events, `trial` and `objective` hold what they describe,
`ranking` compares trials, and `followed_sweep` keeps a state up to date while the journal grows.
"""

from orchestrator.state.followed_sweep import Changes, FollowedSweep
from orchestrator.state.launch import Launch
from orchestrator.state.objective import Constraint, Goal, Objective
from orchestrator.state.ranking import Configuration, dominates, pareto_front
from orchestrator.state.sweep_state import (
    MALFORMED,
    NON_DECISION_EVENTS,
    FailureStreak,
    SweepState,
    contradiction,
    merge_spec,
    recorded_spec,
    spec_in_force,
)
from orchestrator.state.trial import (
    ENDED,
    Best,
    Checkpoint,
    Failure,
    InterimCheckpoint,
    Report,
    Status,
    Takeover,
    Trial,
    rung_of,
)

__all__ = [
    "ENDED",
    "MALFORMED",
    "NON_DECISION_EVENTS",
    "Best",
    "Changes",
    "Checkpoint",
    "Configuration",
    "Constraint",
    "Failure",
    "FailureStreak",
    "FollowedSweep",
    "Goal",
    "InterimCheckpoint",
    "Launch",
    "Objective",
    "Report",
    "Status",
    "SweepState",
    "Takeover",
    "Trial",
    "contradiction",
    "dominates",
    "merge_spec",
    "pareto_front",
    "recorded_spec",
    "rung_of",
    "spec_in_force",
]
