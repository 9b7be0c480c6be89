"""Parzen search: draw near the good trials and away from the others, over a bounded history. For TPE and BOHB."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeVar

from orchestrator.journal import Event
from orchestrator.policies.searcher import Searcher, random_draw
from orchestrator.policies.trial_history import History, trial_events
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import SearcherOptions, SweepSpec

CANDIDATES = 24
GOOD = 25
"""Trials that count as good, at most: a tenth of all below 250."""
HISTORY = 100
"""Trials that the model of the others is made of, at most."""

OptionsT = TypeVar("OptionsT", bound=SearcherOptions)
Shares = list[tuple[int, int]]
"""Trials by number, each with how many it stands for."""


class DensitySearcher(Searcher[OptionsT]):
    """Draw near the good trials and away from the others (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127).

    Of some candidates drawn from the density of the good trials, the one with the highest ratio to the density of the
    others is suggested. Running trials count among the others (constant liar), so that workers keep apart. Stopped
    trials rank behind the finished ones, by the progress they reached.

    A suggestion costs the same however long the sweep is: of the others the newest half and an even choice of the
    older ones are kept. Parameters with the same condition are modelled together, those of different ones apart.
    """

    learns = True
    several_objectives = False

    def __init__(self, options: OptionsT, spec: SweepSpec, *, startup_trials: int, multivariate: bool) -> None:
        from orchestrator.policies.tpe_density import Axis, Table

        super().__init__(options, spec)
        self._startup = startup_trials
        self._history = History(self.space, self.objective)
        self._axes = {name: Axis.of(distribution) for name, distribution in self._history.distributions.items()}
        self._columns = {name: column for column, name in enumerate(self._axes)}
        self._table = Table(len(self._axes))
        self._groups = _groups(self.space, self._history.distributions, joint=multivariate)
        self._ranked: list[tuple[int, float, float, int]] = []
        self._ended: list[int] = []
        self._running: dict[int, None] = {}

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the best of the candidates; a random draw before there are enough trials."""
        if number < self._startup:  # as random search draws, so that the two begin alike
            return random_draw(self.space, self.seed, number)
        good, others = self._split()
        rng = random.Random(derive_seed(self.seed, "tpe", number))
        drawn: dict[str, float] = {}
        params: dict[str, Any] = {}
        for name in self.space.order:
            if self.space.active(params, name):
                if name in self._groups and name not in drawn:
                    drawn |= self._drawn(self._groups[name], good, others, rng)
                params[name] = self.space[name].decode(drawn.get(name, 0.0))
        return params

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        if event.type == "sweep.warmed":
            self._startup -= len(event["trials"])
        for part in trial_events(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        trial = self._history.observe(event)
        if trial is None:
            return
        if event.type == "trial.suggested":
            point = trial.trained_point
            self._table.put(trial.number, [point.get(name, math.nan) for name in self._history.distributions])
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

    def _split(self) -> tuple[Shares, Shares]:
        """Return the good trials and the others."""
        count = min(math.ceil(0.1 * len(self._ranked)), GOOD)
        good = {merit[-1] for merit in self._ranked[:count]}
        ended = [share for share in thinned(self._ended, HISTORY + count) if share[0] not in good]
        running = [(number, 1) for number in list(self._running)[-HISTORY:]]
        return sorted((number, 1) for number in good), sorted(ended + running)

    def _drawn(self, names: list[str], good: Shares, others: Shares, rng: random.Random) -> dict[str, float]:
        """Return the best of the candidates for some parameters, as values of their distributions."""
        import numpy as np

        axes, columns = [self._axes[name] for name in names], [self._columns[name] for name in names]
        near, far = (self._table.mixture(axes, columns, shares) for shares in (good, others))
        uniforms = [[rng.random() for _ in range(1 + len(columns))] for _ in range(CANDIDATES)]
        candidates = near.sample(np.array(uniforms))
        best = int(np.argmax(near.log_density(candidates) - far.log_density(candidates)))
        return dict(zip(names, candidates[best].tolist(), strict=True))


def _groups(space: Space, names: Iterable[str], *, joint: bool) -> dict[str, list[str]]:
    """Return for each parameter those that exist under the same condition, itself included; or itself alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        when = sorted((parent, list(values)) for parent, values in space[name].when.items())
        groups.setdefault(repr(when) if joint else name, []).append(name)
    return {name: group for group in groups.values() for name in group}


def thinned(ended: list[int], most: int) -> Shares:
    """Return at most so many trials: the newest half, and an even choice of the older ones."""
    if len(ended) <= most:
        return [(number, 1) for number in ended]
    half = most // 2
    older = len(ended) - half
    ends = [index * older // half for index in range(half + 1)]
    chosen = [(ended[(start + end) // 2], end - start) for start, end in pairwise(ends)]
    return chosen + [(number, 1) for number in ended[-half:]]
