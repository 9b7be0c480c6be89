"""A sweep's trials as columns, and its parameters as axes: the data of most figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.codec import display
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.per_state import once_per_state
from orchestrator.results.terminal_tables import short_names
from orchestrator.space import Choice, Const, Domain, LogNormal
from orchestrator.space.domain import same_value
from orchestrator.state import SweepState, spec_in_force

_MAX_LABELS = 24

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Trials:
    """Columns of all trials, by trial number.

    ``values`` are the objective at each trial's best epoch, NaN if it has none or failed. ``progress`` is that of
    the last report, 0 before the first, and ``params`` are the parameters of the best epoch. Of `equal_trials` the
    values are at equal progress: ``where`` says up to which. ``early`` marks those that are estimates there, and
    ``note`` says so in a sentence.
    """

    metric: str
    mode: str
    numbers: Places
    statuses: NDArray[np.str_]
    values: Floats
    progress: Floats
    params: Sequence[Mapping[str, Any]]
    early: NDArray[np.bool_] | None = None
    note: str = ""
    where: str = ""

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def losses(self) -> Floats:
        """The values, negated if the objective is maximised: lower is better."""
        return -self.values if self.mode == "max" else self.values

    @cached_property
    def order(self) -> Places:
        """The indices of the trials with a value, best first; ties go to the lower number."""
        valued = np.flatnonzero(np.isfinite(self.values))
        return valued[np.argsort(self.losses[valued], kind="stable")]

    def sample(self, best: int, rest: int) -> Places:
        """Return the sorted indices of the ``best`` first trials and of ``rest`` others, evenly by rank; or of all."""
        return np.sort(thinned(self.order, best, rest))


def thinned(order: Places, best: int, rest: int) -> Places:
    """Return the first ``best`` indices and ``rest`` of the others at even steps, the last included."""
    if len(order) <= best + rest:
        return order
    evenly = np.linspace(best, len(order) - 1, rest).round().astype(int)
    return np.concatenate([order[:best], order[evenly]])


def equal_trials(state: SweepState) -> Trials:
    """Return the trials of a sweep with their values at equal progress: see `orchestrator.results.equal_progress`."""
    columns, equal = trials(state), equal_losses(state)
    sign = -1.0 if columns.mode == "max" else 1.0
    values = np.array([sign * equal.losses.get(int(number), math.nan) for number in columns.numbers], dtype=np.float64)
    early = np.array([int(number) in equal.early for number in columns.numbers], dtype=np.bool_)
    return replace(columns, values=values, early=early, note=equal.note(state.unit), where=equal.where(state.unit))


@once_per_state
def trials(state: SweepState) -> Trials:
    """Return the trials of a sweep as columns, computed once for all its figures."""
    objective = state.objective
    listed = [state.trials[number] for number in sorted(state.trials)]
    best = [objective.best(trial) if trial.status != "failed" else None for trial in listed]
    return Trials(
        objective.metric,
        objective.mode,
        np.array([trial.number for trial in listed], dtype=np.int64),
        np.array([trial.status for trial in listed], dtype=np.str_),
        np.array([at.value if at else math.nan for at in best], dtype=np.float64),
        np.array([trial.progress for trial in listed], dtype=np.float64),
        [trial.params_at(at.progress) if at else trial.params for trial, at in zip(listed, best, strict=True)],
    )


@dataclass(frozen=True)
class Axis:
    """A parameter as an axis. ``places`` are the trials' positions on it, NaN if a trial does not have the parameter.

    The position of a number is its value, or its decimal logarithm if ``log``; that of a category is its index in
    ``words``, which is empty for numbers.
    """

    name: str
    short: str
    places: Floats
    log: bool = False
    words: tuple[str, ...] = ()

    @property
    def unset(self) -> int:
        """The number of trials without the parameter."""
        return int(np.isnan(self.places).sum())

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest position tried."""
        positions = self.places[~np.isnan(self.places)]
        return (float(positions.min()), float(positions.max())) if positions.size else (0.0, 0.0)

    @property
    def varies(self) -> bool:
        """Whether trials differ in the parameter, or only some have it."""
        low, high = self.span
        return low < high or 0 < self.unset < len(self.places)

    def ticks(self, most: int = 6) -> tuple[list[float], list[str]]:
        """Return tick positions and labels: round numbers, or categories, thinned if there are many."""
        if self.words:
            step = -(-len(self.words) // _MAX_LABELS)
            return [float(index) for index in range(0, len(self.words), step)], list(self.words[::step])
        low, high = self.span
        positions = decades(low, high, most) if self.log else rounds(low, high, most)
        return positions, [f"{10**place if self.log else place:.3g}" for place in positions]


def rounds(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` round numbers between the ends, or the ends if there is none."""
    if not low < high:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if unit * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)] or [low, high]


def decades(low: float, high: float, most: int) -> list[float]:
    """Return logarithms of round numbers between two logarithms: powers of ten, with 2, 3 and 5 if those are few."""
    for factors in ((1,), (1, 3), (1, 2, 5)):
        every = [n + math.log10(f) for n in range(math.floor(low), math.ceil(high) + 1) for f in factors]
        inside = [place for place in every if low - 1e-9 <= place <= high + 1e-9]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / most)]
    return inside if len(inside) > 1 else [low, high]


def axes(state: SweepState) -> list[Axis]:
    """Return the parameters that vary, in the order of the spec."""
    columns, space = trials(state), spec_in_force(state).space
    shorts = dict(zip(space, short_names(list(space)), strict=True))
    candidates = (_axis(name, shorts[name], domain, columns) for name, domain in space.items())
    return [axis for axis in candidates if axis.varies]


def _axis(name: str, short: str, domain: Domain, columns: Trials) -> Axis:
    if isinstance(domain, Choice | Const):
        return _categories(name, short, domain, columns)
    values = [params.get(name, math.nan) for params in columns.params]
    places = np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)
    log = bool(getattr(domain, "logarithmic", False)) or isinstance(domain, LogNormal)
    if log:
        places = np.log10(places, where=places > 0, out=np.full_like(places, math.nan))
    return Axis(name, short, places, log)


def _categories(name: str, short: str, domain: Choice | Const, columns: Trials) -> Axis:
    values = domain.values if isinstance(domain, Choice) else (domain.value,)
    position_of = {same_value(value): float(place) for place, value in enumerate(values)}
    places = [
        position_of.get(same_value(params[name]), math.nan) if name in params else math.nan for params in columns.params
    ]
    return Axis(name, short, np.array(places, dtype=np.float64), words=tuple(map(_label, values)))


def _label(value: Any) -> str:
    value = display(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
