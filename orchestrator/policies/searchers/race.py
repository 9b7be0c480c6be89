"""A race: given points train again and again, each time under a fresh seed, until it is clear which is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher
from orchestrator.policies.winner_statistics import Estimate, estimates, spread
from orchestrator.space import Space
from orchestrator.state import Objective

LEAST_SEEDS = 3
"""So often each point trains before anything is said of it."""
_ENDS = frozenset({"trial.finished", "trial.stopped", "trial.failed"})


class Race(Searcher):
    """Gives the next training to the point that had the fewest, of those that may still be the best.

    That is a point whose probability of being the best is above (1 - ``confidence``) / points. The race is over when
    one's is ``confidence`` or more. A point that has failed more often than it came to a value is out.

    Args:
        space: what the points lie in.
        objective: what they are judged by.
        points: whole parameters, the best of the search first.
        spares: more points and how far behind the last of ``points`` each was, as a loss. One that was closer than the
            seeds spread is a near-tie: it joins when each point has trained three times.
        confidence: probability of being the best at which a point has won.
    """

    name = "race"
    learns = True
    exhausts = False

    def __init__(
        self,
        space: Space,
        objective: Objective,
        *,
        points: Sequence[Mapping[str, Any]],
        spares: Sequence[tuple[Mapping[str, Any], float]] = (),
        confidence: float,
    ) -> None:
        self._space, self._objective, self._confidence = space, objective, confidence
        self._points = [self._canonical(point) for point in points]
        self._spares: list[tuple[dict[str, Any], float]] = [(self._canonical(point), gap) for point, gap in spares]
        self._point_of: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._best: dict[int, float] = {}
        self._ended: dict[int, bool] = {}  # trial -> whether it failed
        self._estimates: list[Estimate | None] | None = None

    def suggest(self, number: int) -> dict[str, Any] | None:
        point = self._next()
        return None if point is None else dict(self._points[point])

    def has(self, number: int) -> bool:
        return self._next() is not None

    def first(self, number: int) -> int:
        point = self._point_of[number] if number in self._point_of else self._next()
        return number if point is None else self._first.get(point, number)

    def observe(self, event: Event) -> None:
        if event.type == "trial.suggested":
            point = self._points.index(event["params"])
            self._point_of[event["trial"]] = point
            self._first.setdefault(point, event["trial"])
        elif event.type == "segment.reported":
            loss = self._objective.loss(self._objective.value(event["metrics"]))
            if math.isfinite(loss):
                self._best[event["trial"]] = min(loss, self._best.get(event["trial"], math.inf))
        elif event.type in _ENDS:
            self._ended[event["trial"]] = event.type == "trial.failed"
        elif event.type == "trial.retried":
            self._ended.pop(event["trial"], None)
        elif event.type == "sweep.extended":
            for trial in event["trials"]:
                self._ended.pop(trial, None)
        else:
            return
        self._estimates = None
        if event.type in _ENDS:
            self._let_join()

    def _canonical(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._space[name].canonical(point[name]) for name in self._space.order if name in point}

    def _let_join(self) -> None:
        """Near-ties, once the spread between seeds is known."""
        losses = self._losses()
        if self._spares and all(len(self._trials(p)) >= LEAST_SEEDS for p in self._inside(losses)):
            known = spread(losses) or 0.0
            self._points += [point for point, gap in self._spares if gap <= known]
            self._spares = []

    def _trials(self, point: int) -> list[int]:
        """Those of a point that have ended."""
        return [trial for trial in self._ended if self._point_of[trial] == point]

    def _losses(self) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in self._points]
        for trial, failed in sorted(self._ended.items()):
            if not failed and trial in self._best:
                found[self._point_of[trial]].append(self._best[trial])
        return found

    def _inside(self, losses: list[list[float]]) -> list[int]:
        """Points that have not failed more often than they came to a value."""
        return [p for p in range(len(self._points)) if 2 * len(losses[p]) >= len(self._trials(p))]

    def _next(self) -> int | None:
        """The point that trains next; None where the race is over, as far as it has come."""
        begun = [0] * len(self._points)
        for point in self._point_of.values():
            begun[point] += 1
        losses = self._losses()
        inside = self._inside(losses)
        early = [p for p in inside if begun[p] < LEAST_SEEDS]
        if early:
            return min(early, key=lambda p: (begun[p], p))
        if self._estimates is None:
            self._estimates = estimates(losses)
        chance = [found.probability if found else 0.0 for found in self._estimates]
        known = all(len(losses[p]) >= LEAST_SEEDS or len(self._trials(p)) == begun[p] for p in inside)
        if not inside or (known and max(chance) >= self._confidence):
            return None
        open_ = [p for p in inside if chance[p] >= (1 - self._confidence) / len(self._points)]
        return min(open_ or inside, key=lambda p: (begun[p], p))
