"""The policies that ``benchmarks/search.py`` compares, over the rows of a table instead of a space.

``next()`` names the row that a free worker trains by one more epoch, and on: one set aside, or a new one; None where there
is none. ``report(row, epoch, loss)`` says whether it goes on.
"""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.policies.frontier import FactoredParzen, Frontier

CANDIDATES = 64


class Policy(Protocol):
    def next(self) -> int | None: ...
    def report(self, row: int, epoch: int, loss: float) -> bool: ...


class Shuffled:
    """New rows in a random order."""

    def __init__(self, points: NDArray[np.float64], order: list[int], seed: int) -> None:
        self._rows = iter(order)

    def next(self) -> int | None:
        return next(self._rows, None)

    def tell(self, row: int, epoch: int, best: float, state: str) -> None:
        """``state``: running, finished or stopped; ``best`` is infinite before the first finite loss."""
        return


class OptunaTPE:
    """Optuna's TPE, multivariate with constant liar; the row nearest to each proposal, and told as where it lies.

    What was proposed is told as failed, which the sampler leaves out, and the row is entered in its place.
    """

    def __init__(self, points: NDArray[np.float64], order: list[int], seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self._optuna, self._study = optuna, optuna.create_study(sampler=sampler)
        self._points, self._free = points, np.ones(len(points), bool)
        self._ranges = {f"x{d}": optuna.distributions.FloatDistribution(0, 1) for d in range(points.shape[1])}
        self._trials: dict[int, Any] = {}

    def next(self) -> int | None:
        if not self._free.any():
            return None
        asked = self._study.ask(self._ranges)
        self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
        away = ((self._points - np.array([asked.params[name] for name in self._ranges])) ** 2).sum(axis=1)
        row = int(np.argmin(np.where(self._free, away, np.inf)))
        self._free[row] = False
        self._trials[row] = self._enter(self._points[row])
        return row

    def _enter(self, point: NDArray[np.float64]) -> Any:
        params = dict(zip(self._ranges, point.tolist(), strict=True))
        running = self._optuna.trial.TrialState.RUNNING
        entry = self._optuna.trial.create_trial(state=running, params=params, distributions=self._ranges)
        self._study.add_trial(entry)
        return self._optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[-1]._trial_id)

    def tell(self, row: int, epoch: int, best: float, state: str) -> None:
        states = self._optuna.trial.TrialState
        if state == "running":
            return
        if not math.isfinite(best):
            self._study.tell(self._trials[row], state=states.FAIL)
        elif state == "finished":
            self._study.tell(self._trials[row], best)
        else:
            self._trials[row].report(best, epoch)
            self._study.tell(self._trials[row], state=states.PRUNED)


class Whole:
    """Every trial to its end."""

    def __init__(self, epochs: int) -> None:
        return

    def goes_on(self, row: int, epoch: int, loss: float) -> bool:
        return True


class RayASHA:
    """``ray.tune.schedulers.AsyncHyperBandScheduler`` as it comes: one bracket, grace period 1, reduction factor 4.

    A row goes on if its loss is no worse than the best quarter's edge (a percentile, interpolated) of those that
    entered the rung before it. A loss that is NaN counts as the worst there is. (Ray 2.60 itself lets such a trial
    train to its end, since NaN is below no cut-off; ``ray-asha-nan`` does that.)
    """

    def __init__(self, epochs: int, *, factor: int = 4, nan_goes_on: bool = False) -> None:
        self._factor, self._nan_goes_on = factor, nan_goes_on
        self._rungs: dict[int, list[float]] = {e: [] for k in range(epochs) if (e := factor**k) < epochs}

    def goes_on(self, row: int, epoch: int, loss: float) -> bool:
        if epoch not in self._rungs or (self._nan_goes_on and not math.isfinite(loss)):
            return True
        loss, seen = loss if math.isfinite(loss) else math.inf, self._rungs[epoch]
        edge = (len(seen) - 1) / self._factor
        low = seen[int(edge)] if seen else math.inf
        high = seen[min(int(edge) + 1, len(seen) - 1)] if seen else math.inf
        cut = low + (high - low) * (edge % 1) if math.isfinite(high) else low
        bisect.insort(seen, loss)
        return loss <= cut


class Median:
    """``ray.tune.schedulers.MedianStoppingRule`` counting epochs: at least 3 others, its grace period 1 epoch.

    A row stops if its best loss is worse than the median of the others' running means up to this epoch. (Ray's grace
    period of 60 is in seconds by default; in epochs it would be the whole training.)
    """

    def __init__(self, epochs: int) -> None:
        self._means: list[list[float]] = [[] for _ in range(epochs)]
        self._sum: dict[int, float] = {}
        self._best: dict[int, float] = {}

    def goes_on(self, row: int, epoch: int, loss: float) -> bool:
        self._sum[row] = self._sum.get(row, 0.0) + loss
        self._best[row] = min(loss, self._best.get(row, math.inf)) if math.isfinite(loss) else math.inf
        means = self._means[epoch - 1]
        size = len(means)
        median = (means[(size - 1) // 2] + means[size // 2]) / 2 if size >= 3 else math.inf
        if math.isfinite(self._sum[row]):
            bisect.insort(means, self._sum[row] / epoch)
        return self._best[row] <= median


class Stopping:
    """A searcher with a scheduler that goes on or stops."""

    def __init__(
        self,
        points: NDArray[np.float64],
        epochs: int,
        order: list[int],
        seed: int,
        *,
        searcher: Callable[..., Any] = Shuffled,
        scheduler: Callable[[int], Any] = Whole,
    ) -> None:
        self._epochs, self._searcher, self._scheduler = epochs, searcher(points, order, seed), scheduler(epochs)
        self._best: dict[int, float] = {}

    def next(self) -> int | None:
        return self._searcher.next()

    def report(self, row: int, epoch: int, loss: float) -> bool:
        best = self._best[row] = min(loss if math.isfinite(loss) else math.inf, self._best.get(row, math.inf))
        on = self._scheduler.goes_on(row, epoch, loss)
        ended = "finished" if epoch == self._epochs else "running" if on else "stopped"
        self._searcher.tell(row, epoch, best, ended)
        return on


class Promotion:
    """ASHA as published (Li et al. 2020): of those at a rung, the best 1/factor are promoted to the next."""

    def __init__(
        self, points: NDArray[np.float64], epochs: int, order: list[int], seed: int, *, factor: int = 4
    ) -> None:
        self._rows, self._factor = iter(order), factor
        rungs = [e for k in range(epochs) if (e := factor**k) < epochs]
        self._index = {epoch: k for k, epoch in enumerate(rungs)}
        self._order: list[list[tuple[float, int]]] = [[] for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]
        self._best: dict[int, float] = {}

    def next(self) -> int | None:
        for order, promoted in zip(reversed(self._order), reversed(self._promoted), strict=True):
            for _, row in order[: len(order) // self._factor]:
                if row not in promoted:
                    promoted.add(row)
                    return row
        return next(self._rows, None)

    def report(self, row: int, epoch: int, loss: float) -> bool:
        if not math.isfinite(loss):
            return False
        best = self._best[row] = min(loss, self._best.get(row, math.inf))
        if epoch not in self._index:
            return True
        bisect.insort(self._order[self._index[epoch]], (best, row))
        return False


class Ours:
    """The default: the frontier and the factored Parzen model, which chooses among 64 untried rows drawn at random."""

    def __init__(
        self,
        points: NDArray[np.float64],
        epochs: int,
        order: list[int],
        seed: int,
        *,
        model: bool = True,
        **options: Any,
    ) -> None:
        self._points, self._untried = points, list(order)
        self._random = np.random.default_rng((seed, 1))
        self._frontier = Frontier(epochs, **options)
        self._model = FactoredParzen(points.shape[1], seed) if model else None
        self._rows: list[int] = []
        self._trial: dict[int, int] = {}
        self._best: dict[int, float] = {}

    def next(self) -> int | None:
        trial = self._frontier.promote(exhausted=not self._untried)
        if trial is not None:
            return self._rows[trial]
        if not self._untried:
            return None
        self._rows.append(self._draw(len(self._rows)))
        self._trial[self._rows[-1]] = len(self._rows) - 1
        self._frontier.start(len(self._rows) - 1)
        return self._rows[-1]

    def _draw(self, trial: int) -> int:
        drawn = self._random.integers(0, len(self._untried), CANDIDATES).tolist()
        chosen = 0
        if self._model is not None:
            chosen = self._model.choose(trial, self._points[[self._untried[index] for index in drawn]])
        self._untried[drawn[chosen]], self._untried[-1] = self._untried[-1], self._untried[drawn[chosen]]
        return self._untried.pop()

    def report(self, row: int, epoch: int, loss: float) -> bool:
        trial, finite = self._trial[row], math.isfinite(loss)
        best = self._best[row] = min(loss if finite else math.inf, self._best.get(row, math.inf))
        if self._model is not None:
            self._model.tell(trial, self._points[row], best)
        if finite:
            return self._frontier.report(trial, epoch, loss)
        self._frontier.end(trial)
        return False


POLICIES: dict[str, Callable[..., Policy]] = {
    "random": Stopping,
    "ray-asha": partial(Stopping, scheduler=RayASHA),
    "ray-asha-nan": partial(Stopping, scheduler=partial(RayASHA, nan_goes_on=True)),
    "asha-promotion": Promotion,
    "asha-promotion8": partial(Promotion, factor=8),
    "median": partial(Stopping, scheduler=Median),
    "tpe": partial(Stopping, searcher=OptunaTPE),
    "tpe+asha": partial(Stopping, searcher=OptunaTPE, scheduler=RayASHA),
    "frontier": partial(Ours, model=False),
    "ours": Ours,
}
