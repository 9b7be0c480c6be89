"""A trial's losses by progress, and the loss that it is compared by at a rung."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Compared:
    """A loss that takes part in a comparison.

    Attributes:
        loss: lower is better.
        between: the progress of the two reports between which it is interpolated; None if it is a report's own.
    """

    loss: float
    between: tuple[float, float] | None = None

    @property
    def why(self) -> dict[str, list[float]]:
        """What a verdict says of it: nothing for a report's own."""
        return {"between": list(self.between)} if self.between else {}


@dataclass
class LossCurve:
    """Finite losses in the order of their progress. Of a report that comes again, the later loss counts."""

    places: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def add(self, progress: float, loss: float) -> None:
        """Add a report, which mostly lies beyond the last."""
        at = bisect.bisect_left(self.places, progress)
        if at < len(self.places) and self.places[at] == progress:
            self.losses[at] = loss
        else:
            self.places.insert(at, progress)
            self.losses.insert(at, loss)

    def lowest(self, since: float = -math.inf, count: int | None = None) -> float:
        """Return the lowest of the first ``count`` losses (by default of all) beyond ``since``; infinity without."""
        return min(self.losses[bisect.bisect_right(self.places, since) : count], default=math.inf)

    def at(self, rung: float) -> Compared:
        """Return the loss at a rung, interpolated if no report falls on it.

        Beyond the last finite loss, where a report that is not finite may have passed the rung, it is that last one.
        """
        after = bisect.bisect_left(self.places, rung)
        if after == len(self.places):
            return Compared(self.losses[-1])
        if after == 0 or self.places[after] == rung:
            return Compared(self.losses[after])
        low, high = self.places[after - 1], self.places[after]
        first, second = self.losses[after - 1], self.losses[after]
        return Compared(first + (second - first) * (rung - low) / (high - low), (low, high))

    def up_to(self, rung: float, since: float = -math.inf) -> Compared:
        """Return the lowest loss beyond ``since`` and up to a rung that the curve has reached."""
        there = self.at(rung)
        before = self.lowest(since, bisect.bisect_right(self.places, rung))
        return there if there.loss < before else Compared(before)

    def mean(self, progress: float) -> float:
        """Return the mean of the losses up to a progress; the first if all lie beyond it."""
        count = max(1, bisect.bisect_right(self.places, progress))
        return sum(self.losses[:count]) / count
