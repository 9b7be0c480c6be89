"""How far a run is: its trials by status, what it has spent, and why it is not running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.plan.time_left import TimeLeft, time_left
from orchestrator.policies.budget import amounts
from orchestrator.results.live_trials import LiveTrial, live_trials
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.startup import Phase, starting
from orchestrator.state import SweepState, spec_in_force

STATUSES = ("running", "interrupted", "set_aside", "finished", "stopped", "failed")


@dataclass(frozen=True, repr=False)
class SweepStatus:
    """The progress of a run.

    Attributes:
        name: of the run.
        status: ``running``, ``interrupted``, ``paused`` or ``completed``.
        reason: why it is paused or completed; empty otherwise.
        trials: number of trials by status.
        budget: the limits of the spec.
        spent: of each limit: trials, epochs, what is limited in another unit, ``wall_clock`` seconds, and GPU-hours
            and cost if they are known.
        seconds: time during which a process ran the sweep.
        directory: the run directory, or its URL.
        unit: what progress is measured in.
        time_left: until the sweep ends, as of now: ``seconds``, the ``share`` that is behind it, and the ``limit`` that
            ends it.
        starting: the phases of its start, until the first report.
        live: how far each running trial is since its last report, as far as its host shares the run directory.

    Example:
        ```python
        status = orchestrator.Sweep.attach("quickstart").status()
        print(status.status, status.trials["finished"], status.spent["epochs"])
        ```
    """

    name: str
    status: str
    reason: str
    trials: dict[str, int]
    budget: dict[str, Any]
    spent: dict[str, float]
    seconds: float
    directory: str
    unit: str
    live: list[LiveTrial]
    time_left: TimeLeft
    starting: list[Phase] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return the status in a line: ``quickstart: running; 3 finished, 2 running; about 40 s left``."""
        from orchestrator.results.terminal_tables import left_text

        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.trials.items() if count)
        left = left_text(self.time_left) if self.status != "completed" else ""
        reason = f" ({self.reason})" if self.reason else ""
        return "; ".join(filter(None, [f"{self.name}: {self.status}{reason}", counts or "no trials yet", left]))

    def _repr_html_(self) -> str:
        """Show the status under a notebook's cell."""
        from orchestrator.results.notebook import status_html

        return status_html(self)


def status_of(run: RunDirectory, state: SweepState) -> SweepStatus:
    """Return the progress of a run whose journal was replayed into ``state``."""
    return SweepStatus(
        name=run.name,
        status=state.status,
        reason=state.reason,
        trials={status: state.count(status) for status in STATUSES},
        budget=state.spec["budget"],
        spent=amounts(spec_in_force(state), state),
        seconds=round(state.active_seconds, 3),
        directory=run.where,
        unit=state.unit,
        live=list(live_trials(run, state).values()),
        time_left=time_left(run.journal, state),
        starting=starting(run),
    )
