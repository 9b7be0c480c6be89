"""The trials of a sweep as rows: ranked, sorted, filtered, and rebuilt only for changed trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.progress import short
from orchestrator.results.terminal_graphics import curve
from orchestrator.results.why import show
from orchestrator.safe_text import visible
from orchestrator.state import Objective, SweepState, Trial, rung_of

STATUSES = ("running", "interrupted", "set_aside", "finished", "stopped", "failed")
_GROUP = {"failed": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """A trial as shown.

    ``values`` is the objective at each report, NaN where a whole epoch has none. ``at`` is the progress of the best
    value and ``progress`` that of the last report, in the sweep's unit; ``reached`` says both for people.
    """

    trial: int
    status: str
    best: float | None
    at: float
    progress: float
    reached: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    loss: float
    stopped_at: float | None
    searched: str

    @property
    def place(self) -> tuple[int, float, int]:
        """The sort key of the ranking: failed trials last, before them those without a finite value."""
        return _GROUP.get(self.status, int(self.best is None)), self.loss, self.trial


def row_of(objective: Objective, trial: Trial) -> Row:
    """Return the row of a trial."""
    best = objective.best(trial)
    params = trial.params_at(best.progress) if best else trial.params
    values = curve(trial, objective.metric)
    params_text = " ".join(f"{visible(name)}={visible(show(value))}" for name, value in params.items())
    return Row(
        trial.number,
        trial.status,
        best.value if best else None,
        best.progress if best else 0,
        trial.progress,
        f"{short(best.progress) if best else '–'}/{short(trial.progress)}",
        values,
        params,
        objective.loss(best.value) if best else math.inf,
        rung_of(trial.stopped_by),
        f"{trial.number} {trial.status.replace('_', ' ')} {params_text}".casefold(),
    )


class Rows:
    """All rows of a sweep; ``ranks`` maps trials to their rank from 1, in that order."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.ranks: dict[int, int] = {}
        self.names: list[str] = []

    def update(self, state: SweepState, changed: Iterable[int] | None) -> None:
        """Rebuild the rows of the changed trials, of all if None."""
        if not state.spec:
            return
        objective, reordered = state.objective, changed is None
        if changed is None:
            changed, self.rows, self.ranks = state.trials, {}, {}
            self.names = list(state.spec["space"])
        for number in changed:
            previous, row = self.rows.get(number), row_of(objective, state.trials[number])
            self.rows[number] = row
            reordered = reordered or previous is None or previous.place != row.place
            self.names += [name for name in row.params if name not in self.names]
        if reordered or state.repeated:
            self._rank(state)

    def _rank(self, state: SweepState) -> None:
        if state.repeated:  # configurations are ranked, each with all its trials
            order = [trial.number for trial in state.ranking()]
        else:
            order = [row.trial for row in sorted(self.rows.values(), key=lambda row: row.place)]
        self.ranks = {number: rank for rank, number in enumerate(order, 1)}

    @property
    def widest(self) -> int:
        """The length of the longest `Row.reached`."""
        return max((len(row.reached) for row in self.rows.values()), default=0)

    @property
    def first(self) -> Row | None:
        """The row of the leader, None if no trial has a finite value."""
        number = next(iter(self.ranks), None)
        row = None if number is None else self.rows[number]
        return row if row and row.place[0] == 0 else None

    def listed(self, column: str, *, down: bool, status: str = "", words: str = "") -> list[Row]:
        """Return the rows with the status (empty: any) that contain all words, sorted by a column; ties by rank."""
        terms = words.casefold().split()
        matching = [
            row
            for row in map(self.rows.__getitem__, self.ranks)
            if (not status or row.status == status) and all(word in row.searched for word in terms)
        ]
        if column == "rank":
            return matching[::-1] if down else matching
        present = [row for row in matching if self._key(column, row)[0] != _ABSENT]
        missing = [row for row in matching if self._key(column, row)[0] == _ABSENT]
        return sorted(present, key=lambda row: self._key(column, row), reverse=down) + missing

    def _key(self, column: str, row: Row) -> tuple[int, float, str]:
        if column == "trial":
            return _sort_key(row.trial)
        if column == "status":
            return _sort_key(STATUSES.index(row.status))
        if column == "best":
            return _sort_key(row.best)
        if column == "progress":
            return _sort_key(row.progress)
        return _sort_key(row.params.get(column.removeprefix("param:")))


_ABSENT = 9


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Return a sort key: numbers before other values, missing values marked as `_ABSENT`."""
    if value is None:
        return _ABSENT, 0.0, ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, float(value), "") if math.isfinite(value) else (1, 0.0, str(value))
    return 2, 0.0, str(value)
