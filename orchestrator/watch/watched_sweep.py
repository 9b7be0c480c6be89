"""Follow a sweep's journal for a viewer, and report problems with reading it."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import JournalError
from orchestrator.journal import holder
from orchestrator.plan.time_left import Forecast, TimeLeft
from orchestrator.policies.budget import amounts
from orchestrator.results.live_trials import LiveTrial, live_trials
from orchestrator.results.run_state import require_complete_spec
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.startup import Phase, starting
from orchestrator.spec import SweepSpec
from orchestrator.state import Changes, FollowedSweep, SweepState, spec_in_force


class Watched:
    """The state of a run as last read, for viewing only; no method raises.

    ``problem`` is a sentence if the journal is damaged, deleted or unreadable; the state is then what was read before.
    ``changed_trials`` are the trials that the last refresh changed, None for all. ``live`` says of running trials how
    far they are since their last report.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.problem = ""
        self.changed_trials: set[int] | None = None
        self.live: dict[int, LiveTrial] = {}
        self.starting: list[Phase] = []
        self._sweep = FollowedSweep(run.journal)
        self._dead_lease: int | None = None  # of the process that was found dead
        self._forecast = Forecast(run.journal)
        self._spec: tuple[object, SweepSpec] | None = None

    @property
    def state(self) -> SweepState:
        """The sweep's state as last read."""
        return self._sweep.state

    def refresh(self) -> bool:
        """Read new events; return whether anything changed."""
        problem, status, live, phases = self.problem, self.state.status, self.live, self.starting
        changed = self._read(self._sweep.refresh)
        if self._dead_lease is not None and changed and self._sweep.lease == self._dead_lease:
            # The process was not dead after all, so what it ran was not interrupted.
            self._dead_lease = None
            self._read(self._sweep.restart)
        self._mark_if_interrupted()
        self.live = live_trials(self.run, self.state)
        self.starting = starting(self.run)
        if self.starting and self._is_absent():
            self.problem = ""  # the journal is created later
        before = problem, status, live, phases
        return changed or before != (self.problem, self.state.status, self.live, self.starting)

    def _is_absent(self) -> bool:
        return not self.state.spec and not self.run.exists()

    def spent(self) -> dict[str, float]:
        """Return what was spent of each budget, as `orchestrator.policies.budget.amounts` does."""
        if self._spec is None or self._spec[0] is not self.state.spec:
            self._spec = self.state.spec, spec_in_force(self.state)
        return amounts(self._spec[1], self.state)

    def time_left(self) -> TimeLeft:
        """Return what is left of the sweep, as of now."""
        return self._forecast.time_left(self.state)

    def _read(self, refresh: Callable[[], Changes]) -> bool:
        """Read the journal on; return whether there were events. Raises JournalError if the spec lacks a part."""
        try:
            refresh()
        except JournalError as error:
            self.problem = str(error).split("\nhint: ")[0].replace(str(self.run.journal), "the journal")
        except FileNotFoundError:
            self.problem = "the journal was deleted; the state before that is shown"
        except OSError as error:
            self.problem = f"the journal cannot be read: {error.strerror or error}"
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self.problem = f"the journal holds an impossible event: {type(error).__name__}: {error}"
        else:
            self.problem = ""
        if self.state.spec:
            require_complete_spec(self.state)
        changes = self._sweep.changes
        self.changed_trials = None if changes.sweep or changes.restarted else changes.trials
        return changes.events > 0

    def _mark_if_interrupted(self) -> None:
        """Mark the sweep as interrupted if the process that wrote its journal is gone without recording a pause."""
        if self.state.status != "running":
            self._dead_lease = None if self.state.status != "interrupted" else self._dead_lease
        elif not self._is_written():
            self._dead_lease, self.changed_trials = self._sweep.lease, None
            self.state.mark_interrupted()

    def _is_written(self) -> bool:
        try:
            return holder(self.run.journal) is not None
        except OSError:
            return True  # unknown; `problem` reports that the journal cannot be read
