"""Population based bandits (PB2)."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

from orchestrator.journal import Event
from orchestrator.policies.population import PopulationOptions, PopulationScheduler
from orchestrator.progress import EPOCHS
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import SweepSpec

_ROWS = 100  # the latest intervals that the model is made of: its cost does not grow with the sweep
_LEAST = 4
_CANDIDATES = 200


class PB2(PopulationOptions):
    """Population based bandits: as pbt, with the numbers chosen by a Gaussian process of what made trials improve.

    Example:
        ```python
        scheduler = orchestrator.PB2(interval=2, quantile=0.25)
        ```
    """

    name: Literal["pb2"] = "pb2"


class PB2Scheduler(PopulationScheduler[PB2]):
    """Population based bandits (Parker-Holder et al. 2020, arXiv:2002.02518).

    As PBT, but numbers are chosen where a Gaussian process, over them, time and the loss at the interval's start,
    expects the most improvement, or knows least (upper confidence bound). Trials that train meanwhile count as seen, so
    that two do not choose alike. The process's length scale, forgetting and noise are the likeliest of a small grid.
    Choices change as in PBT.
    """

    def __init__(self, options: PB2, spec: SweepSpec) -> None:
        super().__init__(options, spec, resample=0.0)
        self._numbers = [name for name in self._space.order if name in self._mutate and _is_number(self._space, name)]
        self._start: dict[int, tuple[float, float]] = {}  # trial -> time and loss at the beginning of its interval
        self._rows: list[tuple[float, ...]] = []  # see `best_candidate`
        self._running: dict[int, tuple[float, ...]] = {}

    def on_report(self, trial: int, progress: float) -> None:
        """Add the interval that ends with this report to the model's rows."""
        before = self._reached.get(trial, 0)
        super().on_report(trial, progress)
        point = self._point(progress)
        if point is None or self._places.get((trial, point)) != progress or self._reached[trial] == before:
            return
        loss, time = self._states[trial, point][0], self._time(point)
        if trial in self._start:
            start, loss_at_start = self._start[trial]
            inputs = (float(start), loss_at_start, *self._coordinates(self._params[trial]))
            self._rows = [*self._rows, (*inputs, (loss_at_start - loss) / (time - start))][-_ROWS:]
        self._start[trial] = time, loss

    def on_promoted(self, event: Event) -> None:
        """Begin a new interval, at the donor's loss if the trial took over."""
        super().on_promoted(event)
        trial = event["trial"]
        if "donor" in event.fields:
            donor, progress = event["donor"]
            point = self._point(progress)
            assert point is not None
            self._start[trial] = self._time(point), self._states[donor, point][0]
        start, loss = self._start[trial]
        self._running[trial] = (float(start), loss, *self._coordinates(self._params[trial]))

    def on_set_aside(self, trial: int, progress: float) -> None:
        """Let the trial wait: it trains no longer."""
        super().on_set_aside(trial, progress)
        self._running.pop(trial, None)

    def explore(self, donor: int, trial: int, point: float) -> dict[str, Any]:
        """Return the donor's parameters with the numbers that promise most."""
        params = super().explore(donor, trial, point)
        if len(self._rows) < _LEAST or not self._numbers:
            return params
        from orchestrator.policies.improvement_model import best_candidate

        rng = random.Random(derive_seed(self._seed, "pb2", trial, point))
        units = [[rng.random() for _ in self._numbers] for _ in range(_CANDIDATES)]
        start = [float(self._time(point)), self._states[donor, point][0]]
        running = [inputs for _, inputs in sorted(self._running.items())][-_ROWS:]
        chosen = units[best_candidate(self._rows, running, [[*start, *unit] for unit in units])]
        for name, unit in zip(self._numbers, chosen, strict=True):
            if name in params:
                params[name] = _value(self._space, name, unit)
        return params

    def _time(self, point: float) -> float:
        """Return the model's time: epochs, or in another unit and within an epoch the number of intervals."""
        return point if self.unit == EPOCHS and self._points[0] >= 1 else point / self._points[0]

    def _coordinates(self, params: dict[str, Any]) -> list[float]:
        """Return the numbers in the unit cube; one that is not active is in the middle."""
        return [_unit(self._space, name, params[name]) if name in params else 0.5 for name in self._numbers]


def _is_number(space: Space, name: str) -> bool:
    distribution = space[name].optuna_distribution()
    return hasattr(distribution, "low") and distribution.low < distribution.high


def _unit(space: Space, name: str, value: Any) -> float:
    of, x = space[name].optuna_distribution(), space[name].encode(value)
    if of.log:
        return (math.log(x) - math.log(of.low)) / (math.log(of.high) - math.log(of.low))
    return float((x - of.low) / (of.high - of.low))


def _value(space: Space, name: str, unit: float) -> Any:
    of = space[name].optuna_distribution()
    if of.log:
        return space[name].decode(math.exp(math.log(of.low) + unit * (math.log(of.high) - math.log(of.low))))
    return space[name].decode(of.low + unit * (of.high - of.low))
