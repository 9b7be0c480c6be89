"""What trials may still report, drawn from what a sweep's trials have reported so far."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from orchestrator.state import SweepState, Trial

_NEAREST = 3  # trials among which one that went further is drawn
_RECENT = 12  # latest trials, at least, that a new one resembles


@dataclass
class Curve:
    """The losses of a trial, lower is better, in the order of their progress."""

    places: Sequence[float]
    losses: Sequence[float]
    speed: float = 1.0  # seconds for one unit of progress

    @property
    def end(self) -> float:
        """The progress of the last report."""
        return self.places[-1]

    def at(self, progress: float) -> float:
        """Return the loss at a progress up to the end, interpolated between two reports."""
        after = bisect.bisect_left(self.places, progress * (1 - 1e-9))
        after = min(after, len(self.places) - 1)
        if after == 0 or self.places[after] <= progress * (1 + 1e-9):
            return self.losses[after]
        low, high = self.places[after - 1], self.places[after]
        first, second = self.losses[after - 1], self.losses[after]
        return first + (second - first) * (progress - low) / (high - low) if math.isfinite(first) else second


def curve_of(state: SweepState, trial: Trial) -> Curve | None:
    """Return a trial's curve; None before its first report."""
    objective, places = state.objective, sorted(trial.reports)
    losses = [objective.loss(objective.value(trial.reports[at].metrics)) for at in places]
    return Curve(places, losses) if places else None


class FutureCurves:
    """Draw the rest of a running trial's curve, and the curves of new ones.

    A new trial begins as one of the latest trials did. Past its end a curve goes on as one did that went further and
    had about the same loss there: it takes over the differences. Where none went further it stays as it is: noise there
    would put trials in another order, and schedulers that check their rungs would let all of them go on.
    """

    def __init__(self, curves: Sequence[Curve], random: Random) -> None:
        self._curves, self._random = list(curves), random
        self._further: dict[float, list[tuple[float, int]]] = {}  # by progress: loss there and curve, best first

    def template(self) -> Curve:
        """Return the curve that a new trial begins with."""
        latest = self._curves[-max(_RECENT, len(self._curves) // 2) :]
        return self._random.choice(latest)

    def donor(self, progress: float, loss: float) -> Curve | None:
        """Return a curve that goes beyond a progress, from about the same loss; None if there is none."""
        if progress not in self._further:
            there = ((curve.at(progress), n) for n, curve in enumerate(self._curves) if curve.end > progress)
            self._further[progress] = sorted((at, n) for at, n in there if math.isfinite(at))
        further = self._further[progress]
        if not further:
            return None
        place = bisect.bisect_left(further, (loss, -1))
        low = max(0, min(place - _NEAREST // 2 - 1, len(further) - _NEAREST))
        return self._curves[self._random.choice(further[low : low + _NEAREST])[1]]
