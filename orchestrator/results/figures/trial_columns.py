"""A sweep's trials as columns, and its parameters as axes: what most figures are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from orchestrator.results.terminal_tables import short_names
from orchestrator.space import Choice, Const, Domain, LogNormal, Space
from orchestrator.space.domain import same_value
from orchestrator.state import SweepState

_WORDS = 24

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Trials:
    """One row a trial, in the order of their numbers.

    ``values`` are the objective at each one's best epoch; NaN where it has none, or has failed. ``epochs`` counts what
    it has reported. ``params`` are those of its best epoch.
    """

    metric: str
    mode: str
    numbers: Places
    statuses: NDArray[np.str_]
    values: Floats
    epochs: Places
    params: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def losses(self) -> Floats:
        """The values with their sign turned so that lower is better."""
        return -self.values if self.mode == "max" else self.values

    @cached_property
    def order(self) -> Places:
        """The places of those that have a value, best first; of equals the lower number."""
        known = np.flatnonzero(np.isfinite(self.values))
        return known[np.argsort(self.losses[known], kind="stable")]

    def sample(self, best: int, rest: int) -> Places:
        """The places of so many of the best and of as many others, evenly by rank; all where they are no more."""
        return np.sort(thinned(self.order, best, rest))


def thinned(order: Places, best: int, rest: int) -> Places:
    """The first ``best``, and ``rest`` of those behind, as evenly as can be: the last is among them."""
    if len(order) <= best + rest:
        return order
    others = np.linspace(best, len(order) - 1, rest).round().astype(int)
    return np.concatenate([order[:best], order[others]])


_known: WeakKeyDictionary[SweepState, tuple[int, str, Trials]] = WeakKeyDictionary()


def trials(state: SweepState) -> Trials:
    """Those of a sweep. Made once for all its figures."""
    known = _known.get(state)
    if known is None or known[:2] != (state.seq, state.status):
        known = (state.seq, state.status, _columns(state))
        _known[state] = known
    return known[2]


def _columns(state: SweepState) -> Trials:
    objective = state.objective
    listed = [state.trials[number] for number in sorted(state.trials)]
    best = [objective.best(trial) if trial.status != "failed" else None for trial in listed]
    return Trials(
        objective.metric,
        objective.mode,
        np.array([trial.number for trial in listed], dtype=np.int64),
        np.array([trial.status for trial in listed], dtype=np.str_),
        np.array([found.value if found else math.nan for found in best], dtype=np.float64),
        np.array([trial.epoch for trial in listed], dtype=np.int64),
        [trial.params_at(found.epoch) if found else trial.params for trial, found in zip(listed, best, strict=True)],
    )


@dataclass(frozen=True)
class Axis:
    """One parameter. ``places`` are where the trials lie on it, NaN where the parameter is not set.

    Of a number that is its value, or where ``log`` its decimal logarithm; of a category its index in ``words``, which
    is empty for numbers.
    """

    name: str
    short: str
    places: Floats
    log: bool = False
    words: tuple[str, ...] = ()

    @property
    def unset(self) -> int:
        """How many trials do not have it."""
        return int(np.isnan(self.places).sum())

    @property
    def span(self) -> tuple[float, float]:
        """From the least to the greatest place that was tried."""
        known = self.places[~np.isnan(self.places)]
        return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)

    @property
    def varies(self) -> bool:
        """Whether trials differ in it, be it that some do not have it."""
        low, high = self.span
        return low < high or 0 < self.unset < len(self.places)

    def ticks(self, most: int = 6) -> tuple[list[float], list[str]]:
        """Places and their labels: categories, of very many every so many-th, or round numbers."""
        if self.words:
            step = -(-len(self.words) // _WORDS)
            return [float(index) for index in range(0, len(self.words), step)], list(self.words[::step])
        low, high = self.span
        found = decades(low, high, most) if self.log else rounds(low, high, most)
        return found, [f"{10**place if self.log else place:.3g}" for place in found]


def rounds(low: float, high: float, most: int) -> list[float]:
    """Round numbers between the two, at most so many; the ends themselves where there is none."""
    if not low < high:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if unit * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)] or [low, high]


def decades(low: float, high: float, most: int) -> list[float]:
    """Logarithms of round numbers between the two logarithms: powers of ten, with 2 and 5 where those are few."""
    for factors in ((1,), (1, 3), (1, 2, 5)):
        every = [n + math.log10(f) for n in range(math.floor(low), math.ceil(high) + 1) for f in factors]
        inside = [place for place in every if low - 1e-9 <= place <= high + 1e-9]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / most)]
    return inside if len(inside) > 1 else [low, high]


def axes(state: SweepState) -> list[Axis]:
    """The parameters that vary, in the order of the spec."""
    found, space = trials(state), Space(state.spec.get("space") or {})
    shorts = dict(zip(space, short_names(list(space)), strict=True))
    every = (_axis(name, shorts[name], domain, found) for name, domain in space.items())
    return [axis for axis in every if axis.varies]


def _axis(name: str, short: str, domain: Domain, found: Trials) -> Axis:
    if isinstance(domain, Choice | Const):
        return _categories(name, short, domain, found)
    given = [params.get(name, math.nan) for params in found.params]
    places = np.array([value if isinstance(value, int | float) else math.nan for value in given], dtype=np.float64)
    log = bool(getattr(domain, "logarithmic", False)) or isinstance(domain, LogNormal)
    if log:
        places = np.log10(places, where=places > 0, out=np.full_like(places, math.nan))
    return Axis(name, short, places, log)


def _categories(name: str, short: str, domain: Choice | Const, found: Trials) -> Axis:
    values = domain.values if isinstance(domain, Choice) else (domain.value,)
    index = {same_value(value): float(place) for place, value in enumerate(values)}
    places = [index.get(same_value(params[name]), math.nan) if name in params else math.nan for params in found.params]
    return Axis(name, short, np.array(places, dtype=np.float64), words=tuple(map(_word, values)))


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
