"""Whether the present user trusts a run: before any command imports what it names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.trust import require_trust


def trusted_roots(run: RunDirectory, state: SweepState, *, trust: bool) -> list[str]:
    """Return the folders that the run's code is imported from: those it was signed with, and the present one.

    None is below a run directory. Raises UntrustedRunError if the run is neither the user's own nor trusted.
    """
    trials = state.trials.values()
    params = [*(trial.suggested for trial in trials), *(move.params for trial in trials for move in trial.takeovers)]
    return run.outside([*require_trust(run.name, state.created, params, trust=trust), str(Path.cwd())])
