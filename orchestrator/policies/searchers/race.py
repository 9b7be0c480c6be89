"""A race: given points train repeatedly, each time under a fresh seed, until it is clear which is the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from orchestrator.errors import Problem
from orchestrator.journal import Event
from orchestrator.policies.searcher import Searcher, Suggestion
from orchestrator.spec import Part, SearcherOptions, SweepSpec
from orchestrator.spec.initial_points import point_problems
from orchestrator.spec.parts import plain_mapping
from orchestrator.spec.policy_options import Points

if TYPE_CHECKING:
    from orchestrator.policies.winner_statistics import Estimate

LEAST_SEEDS = 3
"""How often each point trains before it is compared."""
_ENDS = frozenset({"trial.finished", "trial.stopped", "trial.failed"})


class Spare(Part):
    """A point beside those of a race, and how far it was behind the last of them."""

    point: Annotated[dict[str, Any], BeforeValidator(plain_mapping)] = Field(
        description="Complete parameters.", examples=[{"model.learning_rate": 0.002}]
    )
    behind: float = Field(
        ge=0, allow_inf_nan=False, description="By how much the objective was worse.", examples=[0.01]
    )


class Race(SearcherOptions):
    """Trains given points repeatedly, each time under a fresh seed, until it is clear which is the best.

    Example:
        ```python
        searcher = orchestrator.Race(points=[{"model.learning_rate": 0.01}, {"model.learning_rate": 0.02}])
        ```
    """

    name: Literal["race"] = "race"
    points: Points = Field(
        min_length=1,
        description="Complete parameters of each, the best of the search first.",
        examples=[[{"model.learning_rate": 0.001}]],
    )
    spares: list[Spare] = Field(
        default_factory=list,
        description="Points that join if they were less far behind than the seeds spread: near-ties.",
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Probability of being the best with which a point has won.",
        examples=[0.99],
    )  # fmt: skip


class RaceSearcher(Searcher[Race]):
    """Give the next training to the point that had the fewest, of those that may still be the best.

    That is a point whose probability of being the best is above (1 - ``confidence``) / points. The race is over when
    one's is ``confidence`` or more. A point that has failed more often than it had a value is out. A spare that was
    closer than the seeds spread is a near-tie: it joins when each point has trained three times.
    """

    learns = True
    exhausts = False
    repeats_points = True
    spec_defaults: ClassVar[Mapping[str, Any]] = {"scheduler": "fifo"}  # each training is to end by itself

    def __init__(self, options: Race, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._points = [self._canonical(point) for point in options.points]
        self._spares = [(self._canonical(spare.point), spare.behind) for spare in options.spares]
        self._point_of: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._best: dict[int, float] = {}
        self._ended: dict[int, bool] = {}  # trial -> whether it failed
        self._estimates: list[Estimate | None] | None = None

    @classmethod
    def problems(cls, options: Race, spec: SweepSpec) -> Iterator[Problem]:
        """Yield what cannot be combined with a race, and points that are not complete."""
        if spec.repeats.seeds > 1:
            yield Problem("a race decides how often each point trains", "leave `repeats` out", ("repeats",))
        if spec.scheduler.name != "fifo":
            yield Problem("a race compares trainings that have come to their end", "use scheduler fifo", ("scheduler",))
        if spec.objective.also:
            yield Problem("a race is for one objective", "leave `objective.also` out", ("objective", "also"))
        yield from point_problems(spec.space, options.points, "points", complete=True)
        yield from point_problems(spec.space, [spare.point for spare in options.spares], "spares", complete=True)

    @classmethod
    def explain(cls, options: Race, suggestion: Suggestion) -> str:
        """Say that it is one of the points."""
        return "one of the points of the race"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the point that trains next; None if the race is over so far."""
        point = self._next()
        return None if point is None else dict(self._points[point])

    def has(self, number: int) -> bool:
        """Return whether a point trains next."""
        return self._next() is not None

    def first(self, number: int) -> int:
        """Return the first trial of the point."""
        point = self._point_of[number] if number in self._point_of else self._next()
        return number if point is None else self._first.get(point, number)

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        if event.type == "trial.suggested":
            point = self._points.index(event["params"])
            self._point_of[event["trial"]] = point
            self._first.setdefault(point, event["trial"])
        elif event.type == "segment.reported":
            loss = self.objective.loss(self.objective.value(event["metrics"]))
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
            self._admit_near_ties()

    def _canonical(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.space[name].canonical(point[name]) for name in self.space.order if name in point}

    def _admit_near_ties(self) -> None:
        """Add the near-ties, once the spread between seeds is known."""
        from orchestrator.policies.winner_statistics import spread

        losses = self._losses()
        if self._spares and all(len(self._trials(p)) >= LEAST_SEEDS for p in self._remaining(losses)):
            deviation = spread(losses) or 0.0
            self._points += [point for point, gap in self._spares if gap <= deviation]
            self._spares = []

    def _trials(self, point: int) -> list[int]:
        """Return the trials of a point that have ended."""
        return [trial for trial in self._ended if self._point_of[trial] == point]

    def _losses(self) -> list[list[float]]:
        losses: list[list[float]] = [[] for _ in self._points]
        for trial, failed in sorted(self._ended.items()):
            if not failed and trial in self._best:
                losses[self._point_of[trial]].append(self._best[trial])
        return losses

    def _remaining(self, losses: list[list[float]]) -> list[int]:
        """Return the points that have not failed more often than they had a value."""
        return [p for p in range(len(self._points)) if 2 * len(losses[p]) >= len(self._trials(p))]

    def _next(self) -> int | None:
        """Return the point that trains next; None if the race is over, by the trials so far."""
        from orchestrator.policies.winner_statistics import estimates

        begun = [0] * len(self._points)
        for point in self._point_of.values():
            begun[point] += 1
        losses = self._losses()
        remaining = self._remaining(losses)
        early = [p for p in remaining if begun[p] < LEAST_SEEDS]
        if early:
            return min(early, key=lambda p: (begun[p], p))
        if self._estimates is None:
            self._estimates = estimates(losses)
        chance = [estimate.probability if estimate else 0.0 for estimate in self._estimates]
        decided = all(len(losses[p]) >= LEAST_SEEDS or len(self._trials(p)) == begun[p] for p in remaining)
        if not remaining or (decided and max(chance) >= self.options.confidence):
            return None
        candidates = [p for p in remaining if chance[p] >= (1 - self.options.confidence) / len(self._points)]
        return min(candidates or remaining, key=lambda p: (begun[p], p))
