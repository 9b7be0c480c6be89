"""Mirror sweeps as Optuna studies, kept up to date with their journals."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from orchestrator.errors import JournalError
from orchestrator.journal import holder
from orchestrator.optuna_studies.optuna_trials import DisplayDomain, View, display_domains
from orchestrator.progress import place
from orchestrator.results.run_state import find, has_begun, require_complete_spec
from orchestrator.results.verdict import sentences
from orchestrator.results.why import show
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory, list_runs
from orchestrator.safe_text import visible
from orchestrator.state import ENDED, FollowedSweep, SweepState, spec_in_force

TRIALS = 10_000_000
"""An upper bound of trials a sweep: trial n of study s has the id s x TRIALS + n."""
CURVES = 2_000
"""The most trials with curves; Optuna copies all of them at each read."""
_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


class Study:
    """A sweep as an Optuna study. Only `refresh` changes it, and only one thread at a time may call that.

    ``trials`` is one list that is updated in place, so a holder of the list sees every trial as last read.
    """

    def __init__(self, run: RunDirectory, name: str, number: int) -> None:
        self.run, self.name, self.number = run, name, number
        self.trials: list[FrozenTrial] = []
        self.best: FrozenTrial | None = None
        self.attributes: dict[str, Any] = {}
        self._sweep = FollowedSweep(run.journal)
        self._space: dict[str, DisplayDomain] = {}
        self._alive = False
        self._stale = False  # whether events were read before an error and are not shown yet
        self._curves = True

    @property
    def state(self) -> SweepState:
        """The sweep's state as last read."""
        return self._sweep.state

    @property
    def begun(self) -> bool:
        """Whether the journal holds its first record."""
        return bool(self.state.spec)

    @property
    def directions(self) -> list[StudyDirection]:
        """Optuna's direction of each objective."""
        return [_DIRECTIONS[goal.mode] for goal in (self.state.objective, *self.state.objective.also)]

    @property
    def metrics(self) -> list[str]:
        """The name of each objective."""
        return [visible(goal.metric) for goal in (self.state.objective, *self.state.objective.also)]

    def refresh(self) -> None:
        """Read and show new events; if the journal is damaged or deleted, keep what is shown and say so."""
        alive = holder(self.run.journal) is not None  # asked first: a process that ends now has recorded that
        running = set(self.state.running)
        try:
            changes = self._sweep.refresh()
            if self.state.spec:
                require_complete_spec(self.state)
        except (JournalError, OSError) as error:
            self._stale = self._stale or self._sweep.changes.events > 0
            self.attributes = {**self.attributes, "status": visible(f"cannot be read: {error}")}
            return
        if not changes.events and alive == self._alive and not self._stale:
            return
        self._alive = alive
        if self.state.spec:
            changed = running | changes.trials & self.state.trials.keys()
            if changes.sweep:
                changed |= {number for number, trial in self.state.trials.items() if trial.status not in ENDED}
            self._show(sorted(changed), changes.restarted or self._stale)
            self._stale = False

    def _show(self, changed: Iterable[int], rebuild: bool) -> None:
        state = self.state
        if rebuild or not self._space:
            self._space = display_domains(spec_in_force(state).space)
        curves = not state.objective.also and len(state.trials) <= CURVES
        rebuild, self._curves = rebuild or curves != self._curves, curves
        view = View(self.run, state.objective, self._space, self.number * TRIALS, self._alive, curves, state.unit)
        self.best = self._best(view)  # first, since a reader that sees a complete trial asks for the best
        if rebuild:
            self.trials[:] = [view.trial(state.trials[number]) for number in sorted(state.trials)]
        else:
            for number in changed:
                self.trials[number : number + 1] = [view.trial(state.trials[number])]
        self.attributes = self._attributes()

    def _best(self, view: View) -> FrozenTrial | None:
        """Return the winner of the ranking, with its values even while it runs."""
        winner = self.state.winner()
        if winner is None:
            return None
        frozen = view.trial(winner)
        frozen.values = view.values(winner, self.state.objective.best(winner))
        return frozen if frozen.values else None

    def _attributes(self) -> dict[str, Any]:
        state, spec = self.state, self.state.spec
        status = "interrupted" if state.status == "running" and not self._alive else state.status
        attributes = {"status": f"{status} ({state.reason})" if state.reason else status}
        winner = state.winner()
        best = state.objective.best(winner) if winner else None
        if winner and best:
            metric = state.objective.metric
            at = place(best.progress, state.unit)
            attributes["winner"] = f"trial {winner.number}: {metric} {show(best.value)} at {at}"
        if state.objective.also:
            attributes["Pareto front"] = f"trials {', '.join(map(str, state.front()))}"
        if state.confirmation:
            attributes["confirmed"] = sentences(state.confirmation, state.objective.metric)[0]
        budget = ", ".join(f"{key} {value}" for key, value in spec["budget"].items() if value)
        attributes |= {"searcher": _name(spec["searcher"]), "scheduler": _name(spec["scheduler"]), "budget": budget}
        attributes |= {"run directory": str(self.run.root)}
        return {key: visible(text) for key, text in attributes.items()}


def _name(part: dict[str, Any]) -> str:
    return str(part.get("class_path") or part["name"])


REFRESH_SECONDS = 0.5
_NUMBERS = itertools.count()  # unique in the process, as of studies in one storage


class Sweeps:
    """The named sweeps, or all in a folder of runs, including new ones, and the open finals of each.

    Raises:
        UsageError: If there is no run of a name.
    """

    def __init__(self, names: Sequence[str] = (), runs: str | Path | None = None) -> None:
        self._runs = runs
        self._named = [find(name, runs) for name in dict.fromkeys(names)]
        self._all: dict[Path, Study] = {}
        self._lock = threading.Lock()
        self._refreshed = 0.0
        self.refresh()

    def studies(self) -> list[Study]:
        """Return the studies that have something to show."""
        return [study for study in list(self._all.values()) if study.begun]

    def refresh(self) -> None:
        """Read new events of all journals, at most every half second.

        Only one thread reads; others continue at once with what was read before.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._refreshed >= REFRESH_SECONDS or not self._refreshed:
                for run in self._named or list_runs(self._runs):
                    self._follow(run)
                self._refreshed = time.monotonic()
        finally:
            self._lock.release()

    def _follow(self, run: RunDirectory) -> None:
        study = self._refreshed_study(run, run.name)
        if study.state.finals_open and has_begun(finals := finals_of(run, study.state)):
            self._refreshed_study(finals, f"{run.name}/{finals.name}")

    def _refreshed_study(self, run: RunDirectory, name: str) -> Study:
        study = self._all.get(run.root) or Study(run, name, next(_NUMBERS))
        study.refresh()
        self._all[run.root] = study
        return study
