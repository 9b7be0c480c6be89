"""The tree-structured Parzen estimator, over a bounded history."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher, random_draw
from orchestrator.policies.searchers.history import History, told
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.state import Objective

CANDIDATES = 24
GOOD = 25
"""Trials that count as good, at most: a tenth of all below 250."""
HISTORY = 100
"""Trials that the model of the others is made of, at most."""


class TPE(Searcher):
    """Draws near the good trials and away from the others (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127).

    Of some candidates drawn from the density of the good trials the one is taken where its ratio to the density of the
    others is highest. Trials that run count among the others (constant liar), so that workers keep apart. Stopped
    trials rank behind the finished ones, by the epochs they reached.

    However long the sweep, a suggestion costs the same: of the others the newest half and an even choice of the
    older ones are kept. Parameters with the same condition are modelled together, those of another apart.
    """

    name = "tpe"
    learns = True

    def __init__(self, space: Space, seed: int, objective: Objective, startup_trials: int, multivariate: bool) -> None:
        from orchestrator.policies.searchers.tpe_density import Axis, Table

        self._space, self._seed, self._startup = space, seed, startup_trials
        self._history = History(space, objective)
        self._axes = {name: Axis.of(distribution) for name, distribution in self._history.distributions.items()}
        self._columns = {name: column for column, name in enumerate(self._axes)}
        self._table = Table(len(self._axes))
        self._groups = _groups(space, self._history.distributions, together=multivariate)
        self._ranked: list[tuple[int, float, float, int]] = []
        self._ended: list[int] = []
        self._running: dict[int, None] = {}

    def suggest(self, number: int) -> dict[str, Any] | None:
        if number < self._startup:  # drawn as random search draws, so that the two begin alike
            return random_draw(self._space, self._seed, number)
        good, others = self._split()
        rng = random.Random(derive_seed(self._seed, "tpe", number))
        drawn: dict[str, float] = {}
        params: dict[str, Any] = {}
        for name in self._space.order:
            if self._space.active(params, name):
                if name in self._groups and name not in drawn:
                    drawn |= self._drawn(self._groups[name], good, others, rng)
                params[name] = self._space[name].decode(drawn.get(name, 0.0))
        return params

    def observe(self, event: Event) -> None:
        if event.type == "sweep.warmed":
            self._startup -= len(event["trials"])
        for part in told(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        trial = self._history.observe(event)
        if trial is None:
            return
        if event.type == "trial.suggested":
            known = trial.known
            self._table.put(trial.number, [known.get(name, math.nan) for name in self._history.distributions])
        elif event.type == "trial.retried" and trial.number in self._ended:
            self._ended.remove(trial.number)
            self._ranked = [merit for merit in self._ranked if merit[-1] != trial.number]
        if trial.state == "running":
            self._running[trial.number] = None
        else:
            self._running.pop(trial.number, None)
            if trial.state != "failed":
                self._ended.append(trial.number)
                bisect.insort(self._ranked, trial.merit)

    def _split(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The good trials and the others, by number, each with how many trials it stands for."""
        count = min(math.ceil(0.1 * len(self._ranked)), GOOD)
        good = {merit[-1] for merit in self._ranked[:count]}
        ended = [share for share in thinned(self._ended, HISTORY + count) if share[0] not in good]
        running = [(number, 1) for number in list(self._running)[-HISTORY:]]
        return sorted((number, 1) for number in good), sorted(ended + running)

    def _drawn(
        self, names: list[str], good: list[tuple[int, int]], others: list[tuple[int, int]], rng: random.Random
    ) -> dict[str, float]:
        """The best of the candidates for some parameters, as values of their distributions."""
        import numpy as np

        axes, columns = [self._axes[name] for name in names], [self._columns[name] for name in names]
        near, far = (self._table.mixture(axes, columns, shares) for shares in (good, others))
        uniforms = [[rng.random() for _ in range(1 + len(columns))] for _ in range(CANDIDATES)]
        candidates = near.sample(np.array(uniforms))
        best = int(np.argmax(near.log_density(candidates) - far.log_density(candidates)))
        return dict(zip(names, candidates[best].tolist(), strict=True))


def _groups(space: Space, names: Iterable[str], *, together: bool) -> dict[str, list[str]]:
    """For each parameter those that exist under the same condition, itself among them; or each by itself."""
    groups: dict[str, list[str]] = {}
    for name in names:
        when = sorted((other, list(values)) for other, values in space[name].when.items())
        groups.setdefault(repr(when) if together else name, []).append(name)
    return {name: group for group in groups.values() for name in group}


def thinned(ended: list[int], most: int) -> list[tuple[int, int]]:
    """At most so many trials, each with how many it stands for: the newest half, and of those before an even choice."""
    if len(ended) <= most:
        return [(number, 1) for number in ended]
    half = most // 2
    older = len(ended) - half
    ends = [index * older // half for index in range(half + 1)]
    chosen = [(ended[(start + end) // 2], end - start) for start, end in pairwise(ends)]
    return chosen + [(number, 1) for number in ended[-half:]]
