"""The baselines of ``benchmarks/search.py``: searchers, schedulers and whole policies as others publish them.

A scheduler's ``continues(row, epoch, loss)`` returns whether a row trains on; `Stopping` joins it with a searcher. A
policy's ``next`` and ``report`` are those of ``search_policies.Policy``.
"""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Shuffled:
    """New rows in a random order."""

    def __init__(self, points: NDArray[np.float64], order: list[int], seed: int) -> None:
        self._rows = iter(order)

    def next(self) -> int | None:
        return next(self._rows, None)

    def observe(self, row: int, epoch: int, best: float, state: str) -> None:
        """``state``: running, finished or stopped; ``best`` is infinite before the first finite loss."""
        return


class OptunaTPE:
    """Optuna's TPE, multivariate with constant liar. It gets the row nearest to each proposal, with its parameters.

    The proposal itself is recorded as failed, which the sampler ignores, and the row is entered in its place.
    """

    def __init__(self, points: NDArray[np.float64], order: list[int], seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self.optuna, self.study = optuna, optuna.create_study(sampler=sampler)
        self._points, self._free = points, np.ones(len(points), bool)
        self._ranges: dict[str, Any] = {
            f"x{d}": optuna.distributions.FloatDistribution(0, 1) for d in range(points.shape[1])
        }
        self.trials: dict[int, Any] = {}

    def next(self) -> int | None:
        if not self._free.any():
            return None
        proposal = self.study.ask(self._ranges)
        self.study.tell(proposal, state=self.optuna.trial.TrialState.FAIL)
        distances = ((self._points - np.array([proposal.params[name] for name in self._ranges])) ** 2).sum(axis=1)
        row = int(np.argmin(np.where(self._free, distances, np.inf)))
        self._free[row] = False
        self.trials[row] = self._enter(self._points[row])
        return row

    def _enter(self, point: NDArray[np.float64]) -> Any:
        params = dict(zip(self._ranges, point.tolist(), strict=True))
        running = self.optuna.trial.TrialState.RUNNING
        entry = self.optuna.trial.create_trial(state=running, params=params, distributions=self._ranges)
        self.study.add_trial(entry)
        return self.optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[-1]._trial_id)

    def observe(self, row: int, epoch: int, best: float, state: str) -> None:
        states = self.optuna.trial.TrialState
        if state == "running":
            return
        if not math.isfinite(best):
            self.study.tell(self.trials[row], state=states.FAIL)
        elif state == "finished":
            self.study.tell(self.trials[row], best)
        else:
            self.trials[row].report(best, epoch)
            self.study.tell(self.trials[row], state=states.PRUNED)


class TrainToEnd:
    """Every trial to its end."""

    def __init__(self, epochs: int) -> None:
        return

    def continues(self, row: int, epoch: int, loss: float) -> bool:
        return True


class RayASHA:
    """``ray.tune.schedulers.AsyncHyperBandScheduler`` as it comes: one bracket, grace period 1, reduction factor 4.

    A row continues if its loss is no worse than the best quarter's edge (a percentile, interpolated) of those that
    entered the rung before it. A loss that is NaN counts as the worst there is. (Ray 2.60 itself lets such a trial
    train to its end, since NaN is below no cut-off; ``ray-asha-nan`` does that.)
    """

    def __init__(self, epochs: int, *, factor: int = 4, nan_continues: bool = False) -> None:
        self._factor, self._nan_continues = factor, nan_continues
        self._rungs: dict[int, list[float]] = {e: [] for k in range(epochs) if (e := factor**k) < epochs}

    def continues(self, row: int, epoch: int, loss: float) -> bool:
        if epoch not in self._rungs or (self._nan_continues and not math.isfinite(loss)):
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

    def continues(self, row: int, epoch: int, loss: float) -> bool:
        self._sum[row] = self._sum.get(row, 0.0) + loss
        self._best[row] = min(loss, self._best.get(row, math.inf)) if math.isfinite(loss) else math.inf
        means = self._means[epoch - 1]
        size = len(means)
        median = (means[(size - 1) // 2] + means[size // 2]) / 2 if size >= 3 else math.inf
        if math.isfinite(self._sum[row]):
            bisect.insort(means, self._sum[row] / epoch)
        return self._best[row] <= median


class Stopping:
    """A searcher with a scheduler that continues or stops rows."""

    def __init__(
        self,
        points: NDArray[np.float64],
        epochs: int,
        order: list[int],
        seed: int,
        *,
        searcher: Callable[..., Any] = Shuffled,
        scheduler: Callable[[int], Any] = TrainToEnd,
    ) -> None:
        self._epochs, self._searcher, self._scheduler = epochs, searcher(points, order, seed), scheduler(epochs)
        self._best: dict[int, float] = {}

    def next(self) -> int | None:
        row: int | None = self._searcher.next()
        return row

    def report(self, row: int, epoch: int, loss: float) -> bool:
        best = self._best[row] = min(loss if math.isfinite(loss) else math.inf, self._best.get(row, math.inf))
        continued: bool = self._scheduler.continues(row, epoch, loss)
        state = "finished" if epoch == self._epochs else "running" if continued else "stopped"
        self._searcher.observe(row, epoch, best, state)
        return continued


class OptunaPruned:
    """Optuna's TPE with its default pruner, the median's: after five finished trials, from the first epoch on.

    Its sampler is that of `OptunaTPE`; the pruner sees every loss, and a loss that is NaN ends the row.
    """

    def __init__(self, points: NDArray[np.float64], epochs: int, order: list[int], seed: int) -> None:
        self._tpe, self._epochs = OptunaTPE(points, order, seed), epochs
        self._pruner = self._tpe.optuna.pruners.MedianPruner()
        self._best: dict[int, float] = {}

    def next(self) -> int | None:
        return self._tpe.next()

    def report(self, row: int, epoch: int, loss: float) -> bool:
        best = self._best[row] = min(loss if math.isfinite(loss) else math.inf, self._best.get(row, math.inf))
        trial, study = self._tpe.trials[row], self._tpe.study
        if epoch == self._epochs:
            self._tpe.observe(row, epoch, best, "finished")
            return True
        trial.report(loss, epoch)
        pruned = not math.isfinite(loss) or self._pruner.prune(study, study.get_trials(deepcopy=False)[trial.number])
        if pruned:
            study.tell(trial, state=self._tpe.optuna.trial.TrialState.PRUNED)
        return not pruned


class OneEpochThenBest:
    """One epoch for as many rows as a fortieth of the table's epochs pays for, then these in full, the best first.

    So half of the time in which regret is measured goes to first epochs. Then the next rows of the table, likewise.
    """

    def __init__(self, points: NDArray[np.float64], epochs: int, order: list[int], seed: int) -> None:
        self._size, self._epochs = max(1, round(len(order) * epochs / 40)), epochs
        self._untried, self._new = order, list[int]()
        self._first: set[int] = set()
        self._waiting: list[tuple[float, int]] = []

    def next(self) -> int | None:
        if not (self._new or self._first or self._waiting):
            self._new, self._untried = self._untried[: self._size][::-1], self._untried[self._size :]
        if self._new:
            self._first.add(self._new[-1])
            return self._new.pop()
        return self._waiting.pop(0)[1] if self._waiting else None

    def report(self, row: int, epoch: int, loss: float) -> bool:
        if row not in self._first:
            return True
        self._first.discard(row)
        if self._epochs > 1:
            bisect.insort(self._waiting, (loss if math.isfinite(loss) else math.inf, row))
        return False


class PASHA:
    """ASHA by promotion whose largest rung moves up when the ranking of the upper two rungs disagrees.

    Source: Bohdal et al. 2023 (arXiv:2207.06940), with reduction factor 3 and the exact ranking, one of the paper's
    variants: its estimate of the noise within which places may change is left out. When every row has been tried, the
    rest trains to the end, the furthest and best first.
    """

    def __init__(
        self, points: NDArray[np.float64], epochs: int, order: list[int], seed: int, *, factor: int = 3
    ) -> None:
        self._levels = [e for k in range(epochs) if (e := factor**k) < epochs] + [epochs]
        self._factor, self._untried = factor, iter(order)
        self._top, self._last = min(1, len(self._levels) - 1), len(self._levels) - 1
        self._rungs: list[list[tuple[float, int]]] = [[] for _ in self._levels]
        self._left: list[set[int]] = [set() for _ in self._levels]
        self._goal: dict[int, int] = {}

    def next(self) -> int | None:
        row = self._promoted(self._top, self._factor)
        if row is None and (row := next(self._untried, None)) is not None:
            self._goal[row] = 0
        return self._promoted(self._last, 1) if row is None else row

    def _promoted(self, top: int, factor: int) -> int | None:
        """Return the best row that waits in the highest rung below ``top``, among its best 1 in ``factor``."""
        for level in reversed(range(top)):
            for _, row in self._rungs[level][: len(self._rungs[level]) // factor]:
                if row not in self._left[level]:
                    self._left[level].add(row)
                    self._goal[row] = level + 1
                    return row
        return None

    def report(self, row: int, epoch: int, loss: float) -> bool:
        level = self._goal[row]
        if epoch < self._levels[level]:
            return True
        bisect.insort(self._rungs[level], (loss if math.isfinite(loss) else math.inf, row))
        if level == self._top < self._last and not self._agrees():
            self._top += 1
        return False

    def _agrees(self) -> bool:
        upper = [row for _, row in self._rungs[self._top]]
        compared = set(upper)
        return upper == [row for _, row in self._rungs[self._top - 1] if row in compared]
