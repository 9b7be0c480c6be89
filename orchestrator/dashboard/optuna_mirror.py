"""A sweep as an Optuna study, kept up with its journal."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from orchestrator.dashboard.optuna_trials import Shown, View, shown
from orchestrator.errors import JournalError
from orchestrator.journal import holder
from orchestrator.results.run_state import find, has_begun
from orchestrator.results.verdict import sentences
from orchestrator.results.why import show
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory, list_runs
from orchestrator.safe_text import visible
from orchestrator.space import Space
from orchestrator.state import ENDED, FollowedSweep, SweepState

TRIALS = 10_000_000
"""More than any sweep has: trial n of study s has the id s x TRIALS + n."""
CURVES = 2_000
"""With more trials than these their curves are left out: the page, which draws them all, would not come up."""
_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


class Study:
    """One sweep. What is shown of it changes in `refresh` alone, which one thread at a time may call.

    ``trials`` is one list that is changed in place: who holds it sees every trial as it was last read.
    """

    def __init__(self, run: RunDirectory, name: str, number: int) -> None:
        self.run, self.name, self.number = run, name, number
        self.trials: list[FrozenTrial] = []
        self.best: FrozenTrial | None = None
        self.attributes: dict[str, Any] = {}
        self._sweep = FollowedSweep(run.journal)
        self._space: dict[str, Shown] = {}
        self._alive = False
        self._stale = False  # whether events were read before an error and are not shown yet
        self._curves = True

    @property
    def state(self) -> SweepState:
        """The sweep's state as last read."""
        return self._sweep.state

    @property
    def begun(self) -> bool:
        """Whether there is anything to show: the journal's first record."""
        return bool(self.state.spec)

    @property
    def directions(self) -> list[StudyDirection]:
        return [_DIRECTIONS[goal.mode] for goal in (self.state.objective, *self.state.objective.also)]

    @property
    def metrics(self) -> list[str]:
        return [visible(goal.metric) for goal in (self.state.objective, *self.state.objective.also)]

    def refresh(self) -> None:
        """Read what is new, and show it. A journal that is damaged, or gone, leaves what was shown, and says so."""
        alive = holder(self.run.journal) is not None  # asked first: whoever ends meanwhile has written that
        running = set(self.state.running)
        try:
            changes = self._sweep.refresh()
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

    def _show(self, changed: Iterable[int], anew: bool) -> None:
        state = self.state
        if anew or not self._space:
            self._space = shown(Space(state.spec["space"]))
        curves = not state.objective.also and len(state.trials) <= CURVES
        anew, self._curves = anew or curves != self._curves, curves
        view = View(self.run, state.objective, self._space, self.number * TRIALS, self._alive, curves)
        self.best = self._best(view)  # first: who sees a complete trial asks for the best
        if anew:
            self.trials[:] = [view.trial(state.trials[number]) for number in sorted(state.trials)]
        else:
            for number in changed:
                self.trials[number : number + 1] = [view.trial(state.trials[number])]
        self.attributes = self._attributes()

    def _best(self, view: View) -> FrozenTrial | None:
        """The winner by our ranking, with its values even while it goes on."""
        won = self.state.winner()
        if won is None:
            return None
        found = view.trial(won)
        found.values = view.values(won, self.state.objective.best(won))
        return found if found.values else None

    def _attributes(self) -> dict[str, Any]:
        state, spec = self.state, self.state.spec
        status = "interrupted" if state.status == "running" and not self._alive else state.status
        found = {"status": f"{status} ({state.reason})" if state.reason else status}
        won = state.winner()
        best = state.objective.best(won) if won else None
        if won and best:
            metric = state.objective.metric
            found["winner"] = f"trial {won.number}: {metric} {show(best.value)} at epoch {best.epoch}"
        if state.objective.also:
            found["Pareto front"] = f"trials {', '.join(map(str, state.front()))}"
        if state.confirmation:
            found["confirmed"] = sentences(state.confirmation, state.objective.metric)[0]
        budget = ", ".join(f"{key} {value}" for key, value in spec["budget"].items() if value)
        found |= {"searcher": _name(spec["searcher"]), "scheduler": _name(spec["scheduler"]), "budget": budget}
        found |= {"run directory": str(self.run.root)}
        return {key: visible(text) for key, text in found.items()}


def _name(part: dict[str, Any]) -> str:
    return str(part.get("class_path") or part["name"])


REFRESH_SECONDS = 0.5
_NUMBERS = itertools.count()  # optuna-dashboard keeps what it computes by number, for all dashboards of a process


class Sweeps:
    """Those named, or all in a folder of runs, new ones too; and the finals of each, while they count.

    Raises UsageError where there is no run of a name.
    """

    def __init__(self, names: Sequence[str] = (), runs: str | Path | None = None) -> None:
        self._runs = runs
        self._named = [find(name, runs) for name in dict.fromkeys(names)]
        self._all: dict[Path, Study] = {}
        self._lock = threading.Lock()
        self._refreshed = 0.0
        self.refresh()

    def studies(self) -> list[Study]:
        """Those of which there is something to show."""
        return [study for study in list(self._all.values()) if study.begun]

    def refresh(self) -> None:
        """Read what the journals say that is new; not twice within half a second, and for one asker at a time.

        Who asks meanwhile goes on with what there is.
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
        if study.state.finals_open and has_begun(race := finals_of(run, study.state)):
            self._refreshed_study(race, f"{run.name}/{race.name}")

    def _refreshed_study(self, run: RunDirectory, name: str) -> Study:
        study = self._all.get(run.root) or Study(run, name, next(_NUMBERS))
        study.refresh()
        self._all[run.root] = study
        return study
