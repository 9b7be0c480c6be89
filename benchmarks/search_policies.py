"""The policies that ``benchmarks/search.py`` compares, over the rows of a table instead of a space.

``next()`` returns the row that a free worker trains from its next epoch on: a paused one or a new one; None if there is
none. ``report(row, epoch, loss)`` returns whether the row continues.
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

from orchestrator.journal import Event
from orchestrator.policies import build_scheduler
from orchestrator.policies.parzen_search import CANDIDATES, ParzenSearch
from orchestrator.policies.searcher import searcher_class
from orchestrator.spec import SweepSpec


class Policy(Protocol):
    def next(self) -> int | None: ...
    def report(self, row: int, epoch: int, loss: float) -> bool: ...


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
        self._optuna, self._study = optuna, optuna.create_study(sampler=sampler)
        self._points, self._free = points, np.ones(len(points), bool)
        self._ranges: dict[str, Any] = {
            f"x{d}": optuna.distributions.FloatDistribution(0, 1) for d in range(points.shape[1])
        }
        self._trials: dict[int, Any] = {}

    def next(self) -> int | None:
        if not self._free.any():
            return None
        proposal = self._study.ask(self._ranges)
        self._study.tell(proposal, state=self._optuna.trial.TrialState.FAIL)
        distances = ((self._points - np.array([proposal.params[name] for name in self._ranges])) ** 2).sum(axis=1)
        row = int(np.argmin(np.where(self._free, distances, np.inf)))
        self._free[row] = False
        self._trials[row] = self._enter(self._points[row])
        return row

    def _enter(self, point: NDArray[np.float64]) -> Any:
        params = dict(zip(self._ranges, point.tolist(), strict=True))
        running = self._optuna.trial.TrialState.RUNNING
        entry = self._optuna.trial.create_trial(state=running, params=params, distributions=self._ranges)
        self._study.add_trial(entry)
        return self._optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[-1]._trial_id)

    def observe(self, row: int, epoch: int, best: float, state: str) -> None:
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


class Product:
    """A scheduler and a searcher as a sweep runs them, which observe the events of its driver.

    The space is the unit cube, the budget the whole table. Of searchers, ``random`` takes untried rows in a random
    order; Parzen searches choose among 64 of them drawn at random, where in a sweep they choose among 64 draws of the
    space. A sweep that ends before a goal is met never arrives.
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
        self._searcher = OverRows(search, self._untried) if isinstance(search, ParzenSearch) else None

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
            chosen = int(np.argmax(self._search._scores(self._untried.points[rows])))
        return self._untried.take(drawn[chosen])


POLICIES: dict[str, Callable[..., Policy]] = {
    "random": Stopping,
    "ray-asha": partial(Stopping, scheduler=RayASHA),
    "ray-asha-nan": partial(Stopping, scheduler=partial(RayASHA, nan_continues=True)),
    "asha-promotion": partial(Product, scheduler={"name": "asha", "reduction_factor": 4, "promote": True}),
    "median": partial(Stopping, scheduler=Median),
    "tpe": partial(Stopping, searcher=OptunaTPE),
    "tpe+asha": partial(Stopping, searcher=OptunaTPE, scheduler=RayASHA),
    "frontier": partial(Product, scheduler={"name": "frontier"}),
    "frontier+parzen": partial(Product, scheduler={"name": "frontier"}, searcher="parzen"),
    "parzen+promotion": partial(
        Product, scheduler={"name": "asha", "reduction_factor": 3, "promote": True}, searcher="parzen"
    ),
    "default": partial(Product, scheduler={"name": "guarded_asha"}, searcher="density_ratio"),
}
