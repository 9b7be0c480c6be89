"""The default search: a frontier of set-aside trials, and a factored Parzen model of the parameters.

Both are functions of what they were told, in order, and of a seed; neither knows the engine, Ray or a clock. Losses are
lower-is-better and finite; a trial whose value is not finite is said to have ended.
"""

from __future__ import annotations

import bisect
import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LIKELY = 0.5
"""A rung is acted on if trials that turned out good were ahead of others, at that rung, more often than this."""
WITNESSES = 4
"""Trials that must have passed a rung and reached a later one before that rung is judged."""
REMEMBERED = 48
"""The latest so many trials at a rung bear witness: a bound on the cost of a decision."""


class Frontier:
    """Which set-aside trial to train on, or whether to start a new one.

    Rungs are at ``first · factor^k`` epochs. A trial is set aside at each and enters it with its best loss so far.

    Whenever a worker is free, in this order:

    1. ``control_share`` of the epochs go to control trials: the oldest set-aside ones, whatever their losses, up to
       the end. They show whether rungs can be trusted.
    2. ``deep_share`` of the others go to the most promising set-aside trial: the least ``place · next_rung ** power``
       over all rungs, a trial's place being its place among all that have ever entered the rung. (``power`` 1 is the
       order in which asynchronous successive halving would promote, Li et al. 2020, but it is the share of epochs,
       not the number of trials, that sets the pace; less goes deeper sooner.)
    3. The rest go to new trials.

    A rung is acted on only when it is seen to predict: of the trials that passed it and reached the furthest later
    rung where at least ``WITNESSES`` are, the best quarter must have been ahead of the others at this rung, in
    more than ``LIKELY`` of all pairs. Below the first rung that passes, nothing is set aside; so where early losses say nothing
    or mislead, the grace period grows, at last to the whole training. An untried rung lets trials pass to the next.
    """

    def __init__(
        self,
        max_epochs: int,
        *,
        first: int = 1,
        factor: int = 4,
        deep_share: float = 0.5,
        control_share: float = 0.05,
        power: float = 0.5,
    ) -> None:
        self.rungs = [e for k in range(max_epochs) if (e := first * factor**k) < max_epochs] + [max_epochs]
        self._index = {epoch: k for k, epoch in enumerate(self.rungs)}
        self._deep_share, self._control_share, self._power = deep_share, control_share, power
        self._best: dict[int, float] = {}
        self._at: list[dict[int, float]] = [{} for _ in self.rungs]
        self._order: list[list[tuple[float, int]]] = [[] for _ in self.rungs]
        self._waiting: list[OrderedDict[int, None]] = [OrderedDict() for _ in self.rungs]
        self._controls: set[int] = set()
        self._spent = {"new": 0, "deep": 0, "control": 0}
        self._lowest, self.grace = self._trusted()

    def start(self, trial: int) -> None:
        """A new trial is given a worker. Epochs count when they are granted: several workers may ask at once."""
        self._spent["new"] += self.rungs[self._lowest]
        self._spent["deep"] += self.rungs[self.grace] - self.rungs[self._lowest]

    def report(self, trial: int, epoch: int, loss: float) -> bool:
        """Take note of a finite loss. True to go on, False to set the trial aside."""
        best = self._best[trial] = min(loss, self._best.get(trial, math.inf))
        rung = self._index.get(epoch)
        if rung is None or trial in self._at[rung]:
            return True
        self._at[rung][trial] = best
        bisect.insort(self._order[rung], (best, trial))
        if rung > 0:  # it bears witness on the rungs below
            self._lowest, self.grace = self._trusted()
        if rung < self.grace or rung == len(self.rungs) - 1:
            return True
        self._waiting[rung][trial] = None
        return False

    def end(self, trial: int) -> None:
        """The trial will not be trained on: it failed, diverged or was stopped from outside."""
        for waiting in self._waiting:
            waiting.pop(trial, None)

    def promote(self, exhausted: bool = False) -> int | None:
        """The set-aside trial to resume on a free worker, or None to start a new one.

        ``exhausted``: there are no new ones, so what is set aside is all there is; None then if nothing is.
        """
        spent = self._spent
        control = self._control()
        if control is not None:
            chunk = self.rungs[control[0] + 1] - self.rungs[control[0]]
            if spent["control"] + chunk <= self._control_share * sum(spent.values()):
                self._controls.add(control[1])
                return self._resume(*control, "control")
        if exhausted or spent["deep"] < self._deep_share * (spent["deep"] + spent["new"]):
            found = self.most_promising()
            if found is not None:
                return self._resume(*found, "deep")
        for rung in range(self.grace):
            if self._waiting[rung]:
                return self._resume(rung, next(iter(self._waiting[rung])), "new")
        return None

    def most_promising(self) -> tuple[int, int] | None:
        """(rung, trial) of the set-aside trial that is worth the next epochs most; None where none is."""
        found, least = None, math.inf
        for rung in range(self.grace, len(self.rungs) - 1):
            price = self.rungs[rung + 1] ** self._power
            for place, (_, trial) in enumerate(self._order[rung] if self._waiting[rung] else [], start=1):
                if place * price >= least:
                    break
                if trial in self._waiting[rung]:
                    found, least = (rung, trial), place * price
                    break
        return found

    def agreement(self, rung: int) -> float | None:
        """How often, at this rung, a trial among the later best quarter was ahead of one that is not; None: unseen."""
        for later in range(len(self.rungs) - 1, rung, -1):
            if len(self._at[later]) >= WITNESSES:
                seen = list(self._at[later].items())[-REMEMBERED:]
                ranked = [trial for _, trial in sorted((loss, trial) for trial, loss in seen)]
                losses = np.array([self._at[rung][trial] for trial in ranked])
                good = math.ceil(len(losses) / 4)
                gap = losses[None, good:] - losses[:good, None]
                return float(np.mean((gap > 0) + 0.5 * (gap == 0)))
        return None

    def _trusted(self) -> tuple[int, int]:
        """The lowest rung not seen to mislead, and the lowest at which trials are set aside: one more if unseen."""
        for rung in range(len(self.rungs) - 1):
            agreement = self.agreement(rung)
            if agreement is None:
                return rung, rung + 1
            if agreement > LIKELY:
                return rung, rung
        return len(self.rungs) - 1, len(self.rungs) - 1

    def _control(self) -> tuple[int, int] | None:
        """(rung, trial): a control trial that waits, or else the oldest set-aside trial of the lowest rung."""
        for rung, waiting in enumerate(self._waiting):
            for trial in self._controls:
                if trial in waiting:
                    return rung, trial
        for rung, waiting in enumerate(self._waiting):
            if waiting:
                return rung, next(iter(waiting))
        return None

    def _resume(self, rung: int, trial: int, kind: str) -> int:
        del self._waiting[rung][trial]
        self._spent[kind] += self.rungs[rung + 1] - self.rungs[rung]
        if self.rungs[rung + 1] == self.rungs[-1]:
            self._controls.discard(trial)
        return trial


class FactoredParzen:
    """Chooses among candidate parameters by what the good trials have in common, one parameter at a time.

    A Parzen estimator in the manner of TPE (Bergstra et al. 2011, the densities factored): each parameter's density
    among the best ``share`` of the trials over its density among the rest, on ``bins`` cells of the unit interval,
    smoothed by a Gaussian and by one trial spread evenly. The product of the ratios ranks the candidates. Every
    ``1/explore``-th choice or so, and the first ``startup``, are the first candidate: if the candidates are drawn from
    the space at random, so is that one.

    Parameters come as points of the unit cube, each the quantile of a value under the distribution that the space
    gives it. A trial is judged by its best loss so far, however far it got: the frontier trains the promising ones
    on, so those lie ahead as they should. The model lives in counts, and only the ``most`` best trials are the good
    ones; so a suggestion costs the same after ten thousand trials as after a hundred.
    """

    def __init__(
        self,
        parameters: int,
        seed: int,
        *,
        startup: int = 10,
        explore: float = 0.25,
        share: float = 0.15,
        most: int = 40,
        bins: int = 32,
    ) -> None:
        self._seed, self._startup, self._explore = seed, startup, explore
        self._share, self._most, self._bins = share, most, bins
        self._all = np.zeros((parameters, bins))
        self._cells: dict[int, NDArray[np.int64]] = {}
        self._loss: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []
        centres = (np.arange(bins) + 0.5) / bins
        self._apart = (centres[:, None] - centres[None]) ** 2
        self._columns = np.arange(parameters)

    def tell(self, trial: int, point: Sequence[float] | NDArray[np.float64], loss: float) -> None:
        """A trial's best loss so far; infinity for one that diverged before it had any."""
        if trial not in self._cells:
            self._cells[trial] = self._cell(np.asarray(point))
            self._all[self._columns, self._cells[trial]] += 1
        elif self._loss[trial] == loss:
            return
        else:
            del self._order[bisect.bisect_left(self._order, (self._loss[trial], trial))]
        self._loss[trial] = loss
        bisect.insort(self._order, (loss, trial))

    def choose(self, number: int, candidates: NDArray[np.float64]) -> int:
        """The index of the candidate (a row of unit-cube points, drawn at random) for trial ``number``."""
        explores = np.random.default_rng((self._seed, number)).random() < self._explore
        if explores or len(self._order) < self._startup:
            return 0
        return int(np.argmax(self.score(candidates)))

    def score(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of good over other density, for each candidate; shape (n,)."""
        told = len(self._order)
        size = min(self._most, max(3, math.ceil(self._share * told)))
        good = np.zeros_like(self._all)
        for _, trial in self._order[:size]:
            good[self._columns, self._cells[trial]] += 1
        gain = np.log(self._density(good, size)) - np.log(self._density(self._all - good, told - size))
        return gain[self._columns, self._cell(candidates)].sum(axis=1)

    def _density(self, counts: NDArray[np.float64], trials: int) -> NDArray[np.float64]:
        width = max(0.5 / self._bins, 0.3 * max(trials, 1) ** -0.2)
        kernel = np.exp(-0.5 * self._apart / width**2)
        smooth = counts @ (kernel / kernel.sum(axis=0)).T
        return (smooth + 1 / self._bins) / (trials + 1)

    def _cell(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.minimum((points * self._bins).astype(np.int64), self._bins - 1)
