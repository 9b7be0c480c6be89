"""What early stopping took from trials: how many it stopped, and how much progress it saved. The same in every view."""

from __future__ import annotations

from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.state import SweepState

SETTLED = frozenset({"finished", "stopped", "set_aside"})
"""States of trials that ended without a failure, or wait."""


def count_stopped_early(state: SweepState) -> int:
    """Return how many trials were stopped before they had trained in full."""
    if not state.count("stopped"):
        return 0
    end = recorded_horizon(state)
    stopped = (trial for trial in state.trials.values() if trial.status == "stopped")
    return sum(end is None or trial.progress < end for trial in stopped)


def full_length(state: SweepState) -> float:
    """Return the progress at which trials end; that of the longest that finished if the spec does not say it, or 0."""
    finished = (trial.progress for trial in state.trials.values() if trial.status == "finished")
    return recorded_horizon(state) or max(finished, default=0)


def saved_progress(state: SweepState) -> tuple[float, float]:
    """Return the progress that trials were spared, and its share of training all of them to the end.

    All are those that ended without a failure, and those that wait.
    """
    end, trials = full_length(state), [trial for trial in state.trials.values() if trial.status in SETTLED]
    early = (trial for trial in trials if trial.status != "finished")
    saved = float(sum(max(0.0, end - trial.progress) for trial in early))
    return saved, saved / (end * len(trials)) if end and trials else 0.0
