"""The sweeps of smaller models, for a transfer: their sizes, their parameters with a range, their trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.errors import UsageError
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.size_law import Array
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState, Trial

_KINDS = {"uniform": False, "log_uniform": True, "int": False, "log_int": True}
"""The domains with a range, and whether it is logarithmic."""


@dataclass(frozen=True)
class Range:
    """A parameter's range over all of the sweeps."""

    kind: str
    low: float
    high: float
    step: float | None = None

    @property
    def log(self) -> bool:
        """Whether its scale is logarithmic."""
        return _KINDS[self.kind]

    def place(self, value: float) -> float:
        """Return where a value is, from -1 to 1."""
        low, high, at = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return 2 * (at - low) / (high - low) - 1

    def value(self, place: float) -> float:
        """Return the value at a place, which may lie beyond the range if that is logarithmic."""
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        at = low + (place + 1) / 2 * (high - low)
        found = math.exp(at) if self.log else min(max(at, low), high)
        step = self.step or (1 if self.kind in ("int", "log_int") else None)
        if step is None:
            return float(f"{found:.3g}")
        stepped = self.low + round((found - self.low) / step) * step
        return max(1, round(stepped)) if self.kind == "log_int" else type(step)(stepped)


@dataclass(frozen=True)
class Small:
    """The trials of one size, with their losses at equal progress."""

    state: SweepState
    trials: list[Trial]
    losses: Array


def check_comparable(specs: Sequence[SweepSpec]) -> None:
    """Raise UsageError if the sweeps have several objectives, together or each."""
    goals = {(spec.objective.metric, spec.objective.mode) for spec in specs}
    if len(goals) > 1:
        listed = ", ".join(f"{metric} ({mode})" for metric, mode in sorted(goals))
        raise UsageError(f"the sweeps have different objectives: {listed}", hint="transfer from sweeps of one")
    if any(spec.objective.also for spec in specs):
        raise UsageError("a transfer is of one objective, and a sweep here has several")


def _fixed(spec: SweepSpec) -> dict[str, Any]:
    """Return the arguments that the sweep file fixes, by the name that they would have in the space."""
    written = spec.model_dump(mode="json")
    found = dict(written.get("args") or {})
    for section in ("model", "data", "optimizer", "lr_scheduler"):
        part = written.get(section) or {}
        found |= {f"{section}.{key}": value for key, value in part.get("init_args", {}).items()}
    return found


def size_parameter(specs: Sequence[SweepSpec], name: str) -> str:
    """Return the full name of the parameter that is the size."""
    every = [{*spec.space, *_fixed(spec)} for spec in specs]
    named: list[str] = sorted({each for names in every for each in names if name in (each, each.rpartition(".")[2])})
    if len(named) > 1:
        raise UsageError(f"{name} may be {' or '.join(named)}", hint="write the whole name")
    lacking = [spec.name for spec, names in zip(specs, every, strict=True) if not named or named[0] not in names]
    if lacking:
        hint = "set it under init_args or in the space of each sweep, so that its journal holds it"
        raise UsageError(f"the sweep {lacking[0]} does not say its {name}", hint=hint)
    return named[0]


def ranges_of(specs: Sequence[SweepSpec], parameter: str) -> dict[str, Range]:
    """Return the parameters that have a range of one kind in every sweep and no condition."""
    found = {}
    for name in specs[0].space:
        domains = [spec.space[name] for spec in specs if name in spec.space]
        kinds = {domain.kind for domain in domains}
        if name == parameter or len(domains) < len(specs) or len(kinds) > 1 or not kinds <= _KINDS.keys():
            continue
        ends = [domain.arguments() for domain in domains]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if low < high and not any(domain.when for domain in domains):
            found[name] = Range(kinds.pop(), low, high, getattr(domains[0], "step", None))
    return found


def by_size(
    states: Sequence[SweepState], specs: Sequence[SweepSpec], parameter: str, names: Sequence[str]
) -> dict[float, Small]:
    """Return the trials of each size that have a loss and every one of some parameters."""
    found: dict[float, Small] = {}
    for state, spec in zip(states, specs, strict=True):
        fixed, losses = _fixed(spec).get(parameter), equal_losses(state).losses
        grouped: dict[float, list[Trial]] = {}
        for number in losses:
            trial = state.trials[number]
            value = trial.params.get(parameter, fixed)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise UsageError(f"{parameter} is {value!r} in {spec.name}", hint="a size is a number above zero")
            if all(name in trial.params for name in names) and math.isfinite(losses[number]):
                grouped.setdefault(float(value), []).append(trial)
        for size, trials in grouped.items():
            if size in found:
                raise UsageError(f"two sweeps have {parameter} {size:g}", hint="name one sweep for each size")
            found[size] = Small(state, trials, np.array([losses[trial.number] for trial in trials]))
    return found


def check_enough(counts: Mapping[float, int], needed: int, size: float) -> None:
    """Raise UsageError if there are too few sizes, or too few trials at one of them."""
    if len(counts) < 2:
        listed = ", ".join(f"{each:g}" for each in counts) or "none"
        raise UsageError(f"a transfer needs two sizes or more, but has {listed}", hint="add a sweep of another size")
    if size in counts:
        raise UsageError(f"there is a sweep of size {size:g} already", hint="name another size")
    few = [f"size {each:g} has {count}" for each, count in sorted(counts.items()) if count < needed]
    if few:
        raise UsageError(f"too few trials with a value: {', '.join(few)}, and {needed} are needed",
                         hint="extend the sweep: sweep extend NAME --trials N")  # fmt: skip
