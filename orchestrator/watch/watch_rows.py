"""The trials of a sweep as rows: ranked, sorted, filtered; made anew only for trials that have changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.results.why import show
from orchestrator.safe_text import visible
from orchestrator.state import Objective, SweepState, Trial

STATUSES = ("running", "interrupted", "set_aside", "finished", "stopped", "failed")
_GROUP = {"failed": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """A trial as it is shown. ``values`` is the objective by epoch, from 1; NaN where an epoch has none."""

    trial: int
    status: str
    best: float | None
    epoch: int
    epochs: int
    values: tuple[float, ...]
    params: Mapping[str, Any]
    loss: float
    stopped_at: int | None
    searched: str

    @property
    def place(self) -> tuple[int, float, int]:
        """What it is ranked by: failed ones last, before them those without a finite value."""
        return _GROUP.get(self.status, int(self.best is None)), self.loss, self.trial


def row(objective: Objective, trial: Trial) -> Row:
    best = objective.best(trial)
    params = trial.params_at(best.epoch) if best else trial.params
    values = tuple(trial.value(epoch, objective.metric) for epoch in range(1, trial.epoch + 1))
    told = " ".join(f"{visible(name)}={visible(show(value))}" for name, value in params.items())
    return Row(
        trial.number,
        trial.status,
        best.value if best else None,
        best.epoch if best else 0,
        trial.epoch,
        values,
        params,
        objective.loss(best.value) if best else math.inf,
        trial.stopped_by.get("rung"),
        f"{trial.number} {trial.status.replace('_', ' ')} {told}".casefold(),
    )


class Rows:
    """All rows of a sweep. ``ranks`` has each trial's place in the ranking, from 1, in that order."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.ranks: dict[int, int] = {}
        self.names: list[str] = []

    def update(self, state: SweepState, touched: Iterable[int] | None) -> None:
        """Make the rows of those trials anew, of all for None."""
        if not state.spec:
            return
        objective, moved = state.objective, touched is None
        if touched is None:
            touched, self.rows, self.ranks = state.trials, {}, {}
            self.names = list(state.spec["space"])
        for number in touched:
            before, found = self.rows.get(number), row(objective, state.trials[number])
            self.rows[number] = found
            moved = moved or before is None or before.place != found.place
            self.names += [name for name in found.params if name not in self.names]
        if moved or state.repeated:
            self._rank(state)

    def _rank(self, state: SweepState) -> None:
        if state.repeated:  # configurations come first, each with all its trials
            order = [trial.number for trial in state.ranking()]
        else:
            order = [found.trial for found in sorted(self.rows.values(), key=lambda found: found.place)]
        self.ranks = {number: rank for rank, number in enumerate(order, 1)}

    @property
    def first(self) -> Row | None:
        """The leader: the first of the ranking, if it has a finite value and has not failed."""
        found = next(iter(self.ranks), None)
        row = None if found is None else self.rows[found]
        return row if row and row.place[0] == 0 else None

    def listed(self, column: str, *, down: bool, status: str = "", words: str = "") -> list[Row]:
        """The rows with that status (empty: any) in which all the words occur, by a column; equals by rank."""
        wanted = words.casefold().split()
        found = [
            row
            for row in map(self.rows.__getitem__, self.ranks)
            if (not status or row.status == status) and all(word in row.searched for word in wanted)
        ]
        if column == "rank":
            return found[::-1] if down else found
        there = [row for row in found if self._key(column, row)[0] != _ABSENT]
        absent = [row for row in found if self._key(column, row)[0] == _ABSENT]
        return sorted(there, key=lambda row: self._key(column, row), reverse=down) + absent

    def _key(self, column: str, row: Row) -> tuple[int, float, str]:
        if column == "trial":
            return _number(row.trial)
        if column == "status":
            return _number(STATUSES.index(row.status))
        if column == "best":
            return _number(row.best)
        if column == "epochs":
            return _number(row.epochs)
        return _number(row.params.get(column.removeprefix("param:")))


_ABSENT = 9


def _number(value: Any) -> tuple[int, float, str]:
    """Numbers before other values, and what is absent after all, whichever way round."""
    if value is None:
        return _ABSENT, 0.0, ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, float(value), "") if math.isfinite(value) else (1, 0.0, str(value))
    return 2, 0.0, str(value)
