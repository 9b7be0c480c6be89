"""The objective of all trials at one progress, so that those that were stopped early compare with those that were not.

The progress is the furthest rung that enough trials have reached. A trial's value there is its best up to it. For one
that ended before, it is estimated: from rung to rung it takes the mean change of the three trials that went on and had
the nearest values. Views mark such trials. Every view and figure that compares parameters takes its values from here.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.policies.scheduler import recorded_scheduler
from orchestrator.progress import counted, place
from orchestrator.results.per_state import once_per_state
from orchestrator.state import SweepState, Trial

_ENOUGH = 5  # trials, and a twentieth of all, at the progress of comparison
_NEAREST = 3
_TENTHS = 10  # places of comparison of a scheduler without rungs


@dataclass(frozen=True)
class Equal:
    """The losses of trials at one progress, lower is better.

    Attributes:
        progress: of the comparison; None if no trial has a value.
        losses: by trial number. Failed trials, and those without a finite value, are left out.
        early: the trials that ended before; theirs are estimates.
    """

    progress: float | None = None
    losses: Mapping[int, float] = field(default_factory=dict)
    early: frozenset[int] = frozenset()

    def where(self, unit: str) -> str:
        """Return up to where values count, as part of a sentence: ``up to epoch 3``."""
        return "" if self.progress is None else f"up to {place(self.progress, unit)}"

    def note(self, unit: str) -> str:
        """Return a sentence for a caption."""
        if self.progress is None:
            return ""
        at = f"Values are the best {self.where(unit)}"
        if not self.early:
            return f"{at}."
        trials = f"{len(self.early):,} of {counted(len(self.losses), 'trial')} ended before"
        return f"{at}. {trials}: their values there are estimated from trials that went on (hollow where drawn)."


@once_per_state
def equal_losses(state: SweepState) -> Equal:
    """Return the losses of a sweep's trials at equal progress, computed once for all its figures."""
    trials = {number: trial for number, trial in state.trials.items() if trial.status != "failed"}
    finite = {number: trial for number, trial in trials.items() if state.objective.best(trial) is not None}
    places = _places(state, finite)
    losses_at = {at: _losses_at(state, finite, at) for at in places}
    enough = max(_ENOUGH, len(finite) / 20)
    common = max((at for at in places if len(losses_at[at]) >= enough), default=None)
    if common is None:
        common = next((at for at in places if losses_at[at]), None)
    if common is None:
        return Equal()
    columns = [at for at in places if at <= common]
    losses = [losses_at[at] for at in columns]
    for before, after in pairwise(losses):
        _estimate(before, after)
    early = frozenset(number for number, trial in finite.items() if trial.progress < common * (1 - 1e-9))
    return Equal(common, losses[-1], early & losses[-1].keys())


def _places(state: SweepState, trials: Mapping[int, Trial]) -> list[float]:
    """Return where trials may be compared: the rungs and the end; tenths if the scheduler has no rungs."""
    furthest = max((trial.progress for trial in trials.values()), default=0.0)
    end = recorded_horizon(state) or furthest
    if furthest <= 0:
        return []
    recorded = recorded_scheduler(state.spec["scheduler"])
    rungs = recorded[0].rungs(recorded[1], end) if recorded and end > 0 else []
    rungs = rungs or [end * tenth / _TENTHS for tenth in range(1, _TENTHS + 1)]
    first = min(trial.progress for trial in trials.values())  # so that one has a value at the first
    found = sorted({min(first, *rungs), *(rung for rung in [*rungs, end] if rung <= furthest)})
    # Reports need not be at the rungs: with few of them, the first may be beyond the last rung that was reached.
    reported = any(state.objective.best(trial, found[-1] * (1 + 1e-9)) for trial in trials.values())
    return found if reported else [*found, first]


def _losses_at(state: SweepState, trials: Mapping[int, Trial], at: float) -> dict[int, float]:
    """Return the best losses up to a progress, of the trials that have reached it."""
    objective, losses = state.objective, {}
    for number, trial in trials.items():
        best = objective.best(trial, at * (1 + 1e-9)) if trial.progress >= at * (1 - 1e-9) else None
        if best is not None:
            losses[number] = objective.loss(best.value)
    return losses


def _estimate(before: Mapping[int, float], after: dict[int, float]) -> None:
    """Add to the losses at the later of two places those of the trials that did not come there."""
    went_on = sorted((before[number], number) for number in before if number in after)
    found = {}
    for number, loss in before.items():
        if number not in after:
            found[number] = loss + _mean_change(went_on, after, loss)
    after.update(found)


def _mean_change(went_on: Sequence[tuple[float, int]], after: Mapping[int, float], loss: float) -> float:
    if not went_on:
        return 0.0
    middle = bisect.bisect_left(went_on, (loss, -1))
    near = went_on[max(0, middle - _NEAREST) : middle + _NEAREST]
    nearest = sorted(near, key=lambda item: (abs(item[0] - loss), item))[:_NEAREST]
    return math.fsum(after[number] - there for there, number in nearest) / len(nearest)
