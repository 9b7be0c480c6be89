"""A Parzen model of one parameter at a time, which chooses among candidates that are drawn at random."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher, random_draw
from orchestrator.policies.searchers.history import History, Past, told
from orchestrator.seeds import derive_seed
from orchestrator.space import Choice, Space
from orchestrator.space.domain import Coordinate, Domain, same_value
from orchestrator.state import Objective

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
CANDIDATES = 64
EXPLORE = 0.25
"""The share of trials that are drawn at random for good."""
SHARE, MOST = 0.15, 40
"""Trials that count as good: this share of all, and so many at most."""
CELLS = 32
"""Parts of a parameter's range, each as likely as any other under its domain."""


class FactoredParzen(Searcher):
    """Of some candidates the one is tried that has most in common with the good trials and least with the others.

    A Parzen estimator in the manner of TPE (Bergstra et al. 2011, its densities factored too). Each parameter's values
    are counted in cells of equal probability under its domain, and the counts smoothed by a Gaussian and by one
    trial spread evenly; a choice has a cell for each of its values and no smoothing across them. The ratio of the good
    trials' density to that of the others, multiplied over the parameters, ranks the candidates. Unlike in TPE they are
    draws from the space: the model leaves out what is bad rather than closing in on what was good.

    A parameter's densities are those among the trials that have it, and one that a candidate lacks adds nothing: in a
    tree of conditions that is the ratio of the whole densities.

    A trial is judged by its best loss so far, however far it came: a scheduler trains the promising ones on, so they
    lie ahead. One that has none yet counts among the others (constant liar), so that workers keep apart; so does one
    that its parameters ended. One that failed for another reason does not count.

    However long the sweep, a suggestion costs the same: the model is in counts, and only the ``MOST`` best trials are
    looked at.
    """

    name = "parzen"
    learns = True

    def __init__(self, space: Space, seed: int, objective: Objective, startup_trials: int) -> None:
        self._space, self._seed, self._startup = space, seed, startup_trials
        self._history = History(space, objective)
        self._model = Model(space)
        self._told: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []
        self._silent: set[int] = set()  # they run and have no loss yet

    def suggest(self, number: int) -> dict[str, Any] | None:
        if self.by(number) == "random":
            return self._random(number)
        candidates = self._candidates(number)
        return self._space.at(candidates[int(np.argmax(self._scores(candidates)))].tolist())

    def by(self, number: int) -> str:
        """``random`` for a trial that the model has no say in."""
        known = len(self._order) - len(self._silent)
        early = known < self._startup or not self._good() or not self._model.axes
        explores = random.Random(derive_seed(self._seed, "explore", number)).random() < EXPLORE
        return "random" if early or explores else self.name

    def observe(self, event: Event) -> None:
        for part in told(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        self._history.observe(event)
        if event.type == "trial.suggested":
            drawn = event.fields.get("drawn", ())  # of an earlier sweep's trial, what it had not
            self._model.add(event["trial"], {k: v for k, v in event["params"].items() if k not in drawn})
        if event.type in _TELLING:
            self._tell(self._history.trials[event["trial"]])

    def _tell(self, trial: Past) -> None:
        """Put a trial into its place among all."""
        number, before = trial.number, self._told.pop(trial.number, None)
        if before is not None:
            del self._order[bisect.bisect_left(self._order, (before, number))]
        if trial.state != "failed":
            self._told[number] = math.inf if trial.state == "unfit" else trial.loss
            bisect.insort(self._order, (self._told[number], number))
        if (before is None) != (number not in self._told):
            self._model.count(number, 1 if before is None else -1)
        if trial.state == "running" and trial.loss == math.inf:
            self._silent.add(number)
        else:
            self._silent.discard(number)

    def _good(self) -> list[int]:
        finite = bisect.bisect_left(self._order, (math.inf, -1))
        size = min(MOST, max(3, math.ceil(SHARE * len(self._order))), finite)
        return [number for _, number in self._order[:size]]

    def _scores(self, candidates: Array) -> Array:
        """The logarithm of good over other density for each candidate, shape (n,)."""
        return self._model.scores(self._good(), candidates)

    def _random(self, number: int) -> dict[str, Any]:
        return random_draw(self._space, self._seed, number)

    def _candidates(self, number: int) -> Array:
        """Points of the unit cube, shape (n, parameters of the space)."""
        rng = random.Random(derive_seed(self._seed, "parzen", number))
        return np.array([rng.random() for _ in range(CANDIDATES * len(self._space))]).reshape(CANDIDATES, -1)


_TELLING = frozenset(
    {"trial.suggested", "segment.reported", "trial.finished", "trial.stopped", "trial.failed", "trial.retried"}
)


class Axis:
    """The cells of one parameter: of equal probability, or one for each choice."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._values = domain.size if isinstance(domain, Choice) or not getattr(domain, "logarithmic", True) else None
        self._drawn = self._values is None and (domain.size is not None or getattr(domain, "step", None) is not None)
        self.smooth = not isinstance(domain, Choice)
        self.cells = CELLS if self.smooth else domain.size or 1

    def cell(self, value: Any) -> int:
        """Of a value of the domain."""
        return min(max(int(self._domain.coordinate(value) * self.cells), 0), self.cells - 1)

    def column(self, places: Array) -> Array:
        """Of the values that the domain has at these coordinates, shape (n,)."""
        if self._drawn:
            return np.array([self.cell(self._domain.sample(Coordinate(place))) for place in places.tolist()])
        if self._values is not None:
            places = (np.floor(places * self._values) + 0.5) / self._values
        return np.minimum((places * self.cells).astype(np.int64), self.cells - 1)

    def among(self, places: Array, values: tuple[Any, ...]) -> Array:
        """Whether the domain's value at each of these coordinates is one of ``values``, shape (n,)."""
        if isinstance(self._domain, Choice):
            return np.isin(self.column(places), [self._domain.encode(value) for value in values])
        wanted = {same_value(value) for value in values}
        return np.array([same_value(self._domain.sample(Coordinate(place))) in wanted for place in places.tolist()])


class Model:
    """How often the trials have been in each cell. All parameters' cells lie in one row, the smooth ones' first."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._columns = {name: column for column, name in enumerate(space.order)}
        varying = {name: Axis(space[name]) for name in space.order if space[name].size != 1}
        self.axes = dict(sorted(varying.items(), key=lambda item: not item[1].smooth))
        sizes = [axis.cells for axis in self.axes.values()]
        self._starts = dict(zip(self.axes, np.cumsum([0, *sizes])[:-1].tolist(), strict=True))
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        self._prior = np.repeat(1.0 / np.maximum(sizes, 1), sizes)
        self._smooth = sum(axis.smooth for axis in self.axes.values())
        self._all = np.zeros(sum(sizes))
        self._cells: dict[int, Array] = {}
        centres = (np.arange(CELLS) + 0.5) / CELLS
        self._apart = (centres[:, None] - centres[None]) ** 2

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Take note of a trial's parameters. It does not count yet."""
        cells = [self._starts[name] + axis.cell(params[name]) for name, axis in self.axes.items() if name in params]
        self._cells[number] = np.array(cells, dtype=np.int64)

    def count(self, number: int, weight: int) -> None:
        """Let a trial count, or no longer."""
        self._all[self._cells[number]] += weight

    def scores(self, good: list[int], candidates: Array) -> Array:
        """The logarithm of the density among the good trials over that among the others, for each candidate."""
        cells = np.concatenate([self._cells[number] for number in good])
        near = np.bincount(cells, minlength=len(self._all)).astype(float)
        gain = np.log(self._density(near)) - np.log(self._density(self._all - near))
        active = self._active(candidates)
        total = np.zeros(len(candidates))
        for name, axis in self.axes.items():
            found = gain[self._starts[name] + axis.column(candidates[:, self._columns[name]])]
            total += np.where(active[name], found, 0.0) if name in active else found
        return total

    def _density(self, counts: Array) -> Array:
        """Of each cell, by how often it was seen."""
        trials = np.bincount(self._owner, weights=counts, minlength=len(self.axes))
        smoothed, block = counts.copy(), self._smooth * CELLS
        width = np.maximum(0.5 / CELLS, 0.3 * np.maximum(trials[: self._smooth], 1) ** -0.2)
        kernel = np.exp(-0.5 * self._apart / width[:, None, None] ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)  # what lies at the edge stays inside
        smoothed[:block] = (kernel @ counts[:block].reshape(-1, CELLS, 1)).ravel()
        return (smoothed + self._prior) / (trials[self._owner] + 1)

    def _active(self, candidates: Array) -> dict[str, Array]:
        """For each parameter that has a condition, which candidates have the parameter."""
        active: dict[str, Array] = {}
        for name in self._space.order:
            for other, values in self._space[name].when.items():
                there = Axis(self._space[other]).among(candidates[:, self._columns[other]], values)
                there = there & active[other] if other in active else there
                active[name] = there & active[name] if name in active else there
        return active
