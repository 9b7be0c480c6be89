"""Tune small, transfer large: the search of a large model, proposed from sweeps of smaller ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import UsageError
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.run_state import find, read_state
from orchestrator.results.size_law import Array, Interval, Law, fewest_trials, law, optima
from orchestrator.results.sweeps_by_size import (
    Range,
    Small,
    by_size,
    check_comparable,
    check_enough,
    ranges_of,
    size_parameter,
)
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import SweepSpec, dump, from_mapping
from orchestrator.state import SweepState, spec_in_force

_PAD, _LEAST = 0.1, 0.25
"""A narrowed range goes beyond the interval by this share of half the old range, and so far from its middle at least.
"""


@dataclass(frozen=True)
class Moved:
    """What is proposed for one parameter, in its own unit.

    Attributes:
        name: of the parameter.
        optima: by size.
        exponent: of the size in the law of the optimum; on a range that is not logarithmic, by how much the optimum
            moves if the size doubles.
        predicted: the optimum at the new size.
        low: the lower end of the proposed range.
        high: its upper end.
        log: whether its range is logarithmic.
        refused: why none of it is to be used; empty if it is.
    """

    name: str
    optima: Mapping[float, Interval]
    exponent: Interval
    predicted: Interval
    low: float
    high: float
    log: bool
    refused: str = ""


@dataclass(frozen=True)
class Transfer:
    """A search for a new size, and what it follows from.

    Attributes:
        parameter: the one that is the size.
        size: the new one.
        trials: how many trials each smaller size has.
        moved: one for each parameter with a range.
        left: the parameters that keep their domain, since they have no range or a condition.
        points: where to start, the predicted optimum first.
        spec: the sweep that is proposed.
        notices: what limits the proposal.

    Example:
        ```python
        try:
            proposal = orchestrator.transfer(["small-32", "small-64", "small-128"], to={"width": 512})
        except orchestrator.UsageError as error:
            print(error)  # no such runs, too few trials, or nothing can be transferred
        else:
            print([(each.name, each.predicted, each.refused) for each in proposal.moved])
        ```
    """

    parameter: str
    size: float
    trials: Mapping[float, int]
    moved: list[Moved]
    left: list[str]
    points: list[dict[str, Any]]
    spec: SweepSpec
    notices: list[str] = field(default_factory=list)

    def sweep_file(self) -> str:
        """Return the proposal as a sweep file."""
        written = self.spec.model_dump(mode="json", exclude_defaults=True)
        for part in ("searcher", "scheduler"):
            written[part] = {"name": getattr(self.spec, part).name, **written.get(part, {})}
        return dump(written)


def transfer(names: Sequence[str | Path], to: Mapping[str, float], runs: str | Path | None = None) -> Transfer:
    """Return a search for a model of a new size, by how the optima move in sweeps of smaller ones.

    Args:
        names: the runs: one for each size, or one whose space has the size as a parameter.
        to: the parameter that is the size, such as ``model.width`` or its last part, and the new size.
        runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.

    Raises:
        UsageError: The sweeps cannot be compared, are of one size, or too small; or no parameter can be transferred.

    Example:
        ```python
        try:
            print(orchestrator.transfer(["small-32", "small-64"], to={"width": 512}).sweep_file())
        except orchestrator.UsageError as error:
            print(error)  # no such runs, too few trials, or nothing can be transferred
        ```
    """
    if len(to) != 1:
        raise UsageError(f"a transfer is to one size, but got {dict(to)}", hint="name one parameter: width=512")
    ((name, size),) = to.items()
    if isinstance(size, bool) or not math.isfinite(size) or size <= 0:
        raise UsageError(f"{name}={size} is no size", hint="a size is a number above zero")
    return proposal([read_state(find(each, runs)) for each in names], name, size)


def proposal(states: Sequence[SweepState], name: str, size: float) -> Transfer:
    """Return what `transfer` does, of the states of sweeps.

    Args:
        states: the sweeps: one for each size, or one whose space has the size as a parameter.
        name: the parameter that is the size, such as ``model.width``, or its last part.
        size: the new one.

    Raises:
        UsageError: The sweeps cannot be compared, are of one size, or too small; or no parameter can be transferred.
    """
    specs = [spec_in_force(state) for state in states]
    check_comparable(specs)
    parameter = size_parameter(specs, name)
    ranges = ranges_of(specs, parameter)
    if not ranges:
        raise UsageError("no parameter has a range in every sweep", hint="search one by uniform, log_uniform or int")
    choices = [each for each in specs[0].space if each != parameter and specs[0].space[each].to_yaml().get("choice")]
    choices = [each for each in choices if all(each in spec.space and not spec.space[each].when for spec in specs)]
    columns = sum(len(spec.space[each].to_yaml()["choice"]) for spec in specs[:1] for each in choices)
    smalls = by_size(states, specs, parameter, [*ranges, *choices])
    needed = fewest_trials(len(ranges), columns)
    check_enough({size: len(small.trials) for size, small in smalls.items()}, needed, size)
    sizes = sorted(smalls)
    draws = [
        _draws(smalls[each], ranges, choices, derive_seed(specs[0].seed, "transfer", repr(each))) for each in sizes
    ]
    laws = {each: law([drawn[:, column] for drawn in draws], sizes, size) for column, each in enumerate(ranges)}
    moved = [_moved(each, ranges[each], laws[each], sizes) for each in ranges]
    if all(each.refused for each in moved):
        reasons = "; ".join(f"{each.name}: {each.refused}" for each in moved)
        raise UsageError(f"no parameter can be transferred to {name} {size:g}: {reasons}",
                         hint="search the whole ranges at this size, or add sweeps")  # fmt: skip
    largest = smalls[sizes[-1]]
    points = _points(largest, ranges, laws, moved)
    points = [{key: value for key, value in point.items() if key != parameter} for point in points]
    spec = _proposed(spec_in_force(largest.state), parameter, size, moved, ranges, points)
    left = [each for each in spec.space if each not in ranges and each != parameter]
    counts = {each: len(smalls[each].trials) for each in sizes}
    return Transfer(parameter, size, counts, moved, left, points, spec, _notices(states, sizes))


def _draws(small: Small, ranges: Mapping[str, Range], choices: Sequence[str], seed: int) -> Array:
    points = np.array([[each.place(trial.params[name]) for name, each in ranges.items()] for trial in small.trials])
    columns = []
    for name in choices:
        values = [repr(trial.params[name]) for trial in small.trials]
        columns += [[float(value == each) for value in values] for each in sorted(set(values))]
    offsets = np.array(columns, dtype=float).reshape(len(columns), len(small.trials)).T
    return optima(points, offsets, small.losses, np.random.default_rng(seed % 2**32))


def _moved(name: str, place: Range, found: Law, sizes: Sequence[float]) -> Moved:
    """Return a law in the parameter's own unit, with the range that it proposes."""
    low = min(found.predicted.low - _PAD, found.predicted.middle - _LEAST)
    high = max(found.predicted.high + _PAD, found.predicted.middle + _LEAST)
    half = (math.log(place.high / place.low) if place.log else place.high - place.low) / 2
    unit = half if place.log else half * math.log(2)
    slope = Interval(*(unit * each for each in (found.slope.middle, found.slope.low, found.slope.high)))
    optima_of = {size: _in_unit(place, each) for size, each in zip(sizes, found.optima, strict=True)}
    ends = (place.low, place.high) if found.refused else (place.value(low), place.value(high))
    return Moved(name, optima_of, slope, _in_unit(place, found.predicted), *ends, place.log, found.refused)


def _in_unit(place: Range, interval: Interval) -> Interval:
    return Interval(*(place.value(each) for each in (interval.middle, interval.low, interval.high)))


def _points(
    largest: Small, ranges: Mapping[str, Range], laws: Mapping[str, Law], moved: Sequence[Moved]
) -> list[dict[str, Any]]:
    """Return where to start: the predicted optimum, and the largest size's best trial, moved as the optima move.

    What has no law is as in that trial.
    """
    best = largest.trials[int(np.argmin(largest.losses))].params
    predicted, shifted = dict(best), dict(best)
    for each in moved:
        if each.refused:
            continue
        place, found = ranges[each.name], laws[each.name]
        predicted[each.name] = each.predicted.middle
        away = found.predicted.middle - found.optima[-1].middle
        shifted[each.name] = min(max(place.value(place.place(best[each.name]) + away), each.low), each.high)
    return [predicted, shifted] if shifted != predicted else [predicted]


def _proposed(
    spec: SweepSpec, parameter: str, size: float, moved: Sequence[Moved], ranges: Mapping[str, Range],
    points: Sequence[dict[str, Any]],
) -> SweepSpec:  # fmt: skip
    """Return the spec of the largest sweep at the new size, with narrowed ranges and points to try first."""
    written, value = spec.model_dump(mode="json"), int(size) if float(size).is_integer() else size
    section, _, argument = parameter.partition(".")
    if parameter in spec.space:
        written["space"][parameter] = {"const": value}
    elif argument:
        written[section]["init_args"][argument] = value
    else:
        written["args"][parameter] = value
    for each in moved:
        if not each.refused:
            written["space"][each.name] |= {ranges[each.name].kind: [each.low, each.high]}
    written["name"] = f"{spec.name}-{parameter.rpartition('.')[2]}{size:g}"
    space = Space(written["space"])
    if "try_first" in type(spec.searcher).model_fields:
        inside = [{key: point[key] for key in point if key in space and _may_be(space, key, point)} for point in points]
        written["searcher"]["try_first"] = inside
    return from_mapping(written)


def _may_be(space: Space, name: str, point: Mapping[str, Any]) -> bool:
    return space.active(point, name) and space[name].contains(point[name])


def _notices(states: Sequence[SweepState], sizes: Sequence[float]) -> list[str]:
    found = []
    if len(sizes) == 2:
        found.append("two sizes lie on a line in any case: a third one would show whether the optima follow a law")
    places = sorted({equal_losses(state).progress or 0 for state in states})
    if len(places) > 1:
        found.append(f"the trials were compared after {places[0]:g} to {places[-1]:g}, and optima move with that, too")
    return found
