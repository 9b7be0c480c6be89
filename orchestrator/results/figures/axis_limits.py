"""The part of an axis that is shown: a few values that are far out do not squeeze all others into a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.results.figures.trial_columns import Floats


@dataclass(frozen=True)
class Frame:
    """From ``low`` to ``high``; ``beyond`` counts the values that lie outside."""

    low: float
    high: float
    beyond: int

    @property
    def words(self) -> str:
        """A sentence where something is outside, else nothing."""
        if not self.beyond:
            return ""
        return f" {self.beyond} far-out {'value is' if self.beyond == 1 else 'values are'} beyond the frame."


def frame(values: Floats, mode: str) -> Frame | None:
    """All finite values, and a margin; at the worse end no farther than three times the spread of the better 90 %.

    None where there is no finite value.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    losses = np.sort(-known if mode == "max" else known)
    least, usual = float(losses[0]), float(losses[int(0.9 * (len(losses) - 1))])
    most = float(losses[-1])
    if usual > least:
        most = min(most, usual + 3 * (usual - least))
    margin = 0.05 * (most - least) or 0.05 * abs(most) or 1.0
    low, high = least - margin, most + margin
    beyond = int((losses > high).sum())
    return Frame(-high, -low, beyond) if mode == "max" else Frame(low, high, beyond)
