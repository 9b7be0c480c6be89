"""The policies that ``benchmarks/search.py`` compares, over the rows of a table instead of a space.

``next()`` returns the row that a free worker trains from its next epoch on: a paused one or a new one; None if there is
none. ``report(row, epoch, loss)`` returns whether the row continues.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_baselines import (
    PASHA,
    Median,
    OneEpochThenBest,
    OptunaPruned,
    OptunaTPE,
    RayASHA,
    Stopping,
)
from orchestrator.journal import Event
from orchestrator.policies import build_scheduler
from orchestrator.policies.parzen_search import CANDIDATES, ParzenSearch
from orchestrator.policies.searcher import searcher_class
from orchestrator.spec import SweepSpec


class Policy(Protocol):
    def next(self) -> int | None: ...
    def report(self, row: int, epoch: int, loss: float) -> bool: ...


class Product:
    """A scheduler and a searcher as a sweep runs them, which observe the events of its driver.

    The space is the unit cube, the budget the whole table. Of searchers, ``random`` takes untried rows in a random
    order; Parzen searches choose among 64 of them drawn at random, where in a sweep they choose among 64 draws of the
    space; others get the untried row nearest to what they suggest. A sweep that ends before a goal never arrives.
    """

    def __init__(
        self,
        points: NDArray[np.float64],
        epochs: int,
        order: list[int],
        seed: int,
        *,
        scheduler: dict[str, Any],
        searcher: str = "random",
    ) -> None:
        described = SweepSpec.model_validate(
            {
                "name": "bench", "seed": seed, "model": "no.Model", "objective": {"metric": "loss", "mode": "min"},
                "trainer": {"max_epochs": epochs}, "budget": {"trials": len(points)}, "searcher": searcher,
                "scheduler": scheduler, "space": {f"model.x{d}": {"uniform": [0, 1]} for d in range(points.shape[1])},
            }
        )  # fmt: skip
        self._points, self._epochs, self._scheduler = points, epochs, build_scheduler(described)
        self._rows: list[int] = []
        self._trial: dict[int, int] = {}
        self._running: set[int] = set()
        self._untried = Untried(points, order, seed)
        search = searcher_class(described.searcher.name).build(described.searcher, described)
        self._searcher: Any = None
        if isinstance(search, ParzenSearch):
            self._searcher = OverRows(search, self._untried)
        elif searcher != "random":
            self._searcher = NearestRows(search, self._untried)

    def next(self) -> int | None:
        promotion = self._scheduler.promote(last=False)
        if promotion is None and self._untried.rows:
            return self._new()
        if promotion is None and not self._running:
            promotion = self._scheduler.promote(last=True)
        if promotion is None:
            return None
        self._observe("trial.promoted", promotion[0], rule=promotion[1].rule, why=promotion[1].why)
        self._running.add(promotion[0])
        return self._rows[promotion[0]]

    def _new(self) -> int:
        number = len(self._rows)
        row = self._searcher.row(number) if self._searcher else self._untried.take(0)
        self._rows.append(row)
        self._trial[row] = number
        self._running.add(number)
        params = {f"model.x{d}": place for d, place in enumerate(self._points[row].tolist())}
        self._observe("trial.suggested", number, params=params, by="")
        return row

    def report(self, row: int, epoch: int, loss: float) -> bool:
        number = self._trial[row]
        self._observe("segment.reported", number, epoch=epoch, metrics={"loss": loss})
        verdict = self._scheduler.judge(number, epoch)
        if verdict is not None:
            ended = "trial.set_aside" if verdict.action == "set_aside" else "trial.stopped"
            self._observe(ended, number, epoch=epoch, rule=verdict.rule, why=verdict.why)
        elif epoch == self._epochs:
            self._observe("trial.finished", number, epoch=epoch)
        if verdict is not None or epoch == self._epochs:
            self._running.discard(number)
        return verdict is None

    def _observe(self, type: str, trial: int, **fields: Any) -> None:
        event = Event(0, 1, 0.0, type, {"trial": trial, "segment": 0, **fields})
        self._scheduler.observe(event)
        if self._searcher:
            self._searcher.observe(event)


class Untried:
    """The untried rows and their points."""

    def __init__(self, points: NDArray[np.float64], order: list[int], seed: int) -> None:
        self.points, self.rows = points, list(reversed(order))
        self.random = np.random.default_rng((seed, 1))

    def take(self, drawn: int) -> int:
        """Remove a row, by its place from the end, and return it."""
        place = len(self.rows) - 1 - drawn
        self.rows[place], self.rows[-1] = self.rows[-1], self.rows[place]
        return self.rows.pop()


class OverRows:
    """A product's searcher with the untried rows for a space."""

    def __init__(self, search: ParzenSearch[Any], untried: Untried) -> None:
        self._search, self._untried = search, untried
        self.observe = search.observe

    def row(self, number: int) -> int:
        """Return the row chosen for a new trial."""
        size = len(self._untried.rows)
        drawn = self._untried.random.integers(0, size, CANDIDATES).tolist()
        chosen = 0
        if self._search.by(number) != "random":
            rows = [self._untried.rows[size - 1 - place] for place in drawn]
            chosen = self._search._chosen(number, self._untried.points[rows])
        return self._untried.take(drawn[chosen])


class NearestRows:
    """A product's searcher that suggests points of the unit cube, each of which stands for the nearest untried row."""

    def __init__(self, search: Any, untried: Untried) -> None:
        self._search, self._untried = search, untried
        self.observe = search.observe

    def row(self, number: int) -> int:
        """Return the row chosen for a new trial."""
        suggestion = self._search.suggest(number)
        point = np.array([suggestion[f"model.x{d}"] for d in range(self._untried.points.shape[1])])
        rows = self._untried.rows
        distances = ((self._untried.points[rows] - point) ** 2).sum(axis=1)
        return self._untried.take(len(rows) - 1 - int(np.argmin(distances)))


POLICIES: dict[str, Callable[..., Policy]] = {
    "random": Stopping,
    "one-epoch-then-best": OneEpochThenBest,
    "ray-asha": partial(Stopping, scheduler=RayASHA),
    "ray-asha-nan": partial(Stopping, scheduler=partial(RayASHA, nan_continues=True)),
    "asha-promotion": partial(Product, scheduler={"name": "asha", "reduction_factor": 4, "promote": True}),
    "median": partial(Stopping, scheduler=Median),
    "pasha": PASHA,
    "hyperband": partial(Product, scheduler={"name": "hyperband"}),
    "bohb": partial(Product, scheduler={"name": "hyperband"}, searcher="bohb"),
    "tpe": partial(Stopping, searcher=OptunaTPE),
    "tpe+asha": partial(Stopping, searcher=OptunaTPE, scheduler=RayASHA),
    "tpe+pruner": OptunaPruned,
    "frontier": partial(Product, scheduler={"name": "frontier"}),
    "frontier+parzen": partial(Product, scheduler={"name": "frontier"}, searcher="parzen"),
    "parzen+promotion": partial(
        Product, scheduler={"name": "asha", "reduction_factor": 3, "promote": True}, searcher="parzen"
    ),
    "default": partial(Product, scheduler={"name": "guarded_asha"}, searcher="density_ratio"),
    "default-eta3": partial(
        Product, scheduler={"name": "guarded_asha", "reduction_factor": 3}, searcher="density_ratio"
    ),
}
SLOW = frozenset({"tpe", "tpe+asha", "tpe+pruner"})
"""Policies that take seconds a run: Optuna looks at all trials before each suggestion."""
