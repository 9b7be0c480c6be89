"""The sweeps that a dashboard shows."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.dashboard.optuna_mirror import Study
from orchestrator.results.trial_rows import find, has_begun
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory, list_runs

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
