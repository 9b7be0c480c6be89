"""Small graphics of characters: a trial's curve, and a bar for progress."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from orchestrator.state import Trial

_MOST = 10_000  # places of a curve that is drawn with its gaps


def bar(share: float, length: int) -> Text:
    """Return a bar of so many characters, filled by a share from 0 to 1."""
    filled = int(share * length)
    return Text.assemble(("━" * filled, "bold green"), ("─" * (length - filled), "dim"))


def curve(trial: Trial, metric: str) -> tuple[float, ...]:
    """Return a metric at each report, in order; where reports are whole epochs, NaN for one that is missing."""
    whole = all(isinstance(progress, int) for progress in trial.reports)
    places = range(1, int(trial.progress) + 1) if whole and trial.progress <= _MOST else sorted(trial.reports)
    return tuple(trial.value(progress, metric) for progress in places)


_BARS = "▁▂▃▄▅▆▇█"
_NOT_A_NUMBER = "×"


def sparkline(values: Sequence[float], width: int, complete: float) -> str:
    """Return the values as bars between their own extremes, at most ``width`` characters.

    ``complete`` is how many values a complete training has: half as many fill half the width. If several values share
    a character, the last one counts; ``×`` is a value that is not finite.
    """
    if not values or width < 1:
        return ""
    total = max(round(complete) if math.isfinite(complete) else 0, len(values))
    cells = values if total <= width else _last_of_each(values, width, total)
    finite = [value for value in cells if math.isfinite(value)]
    low = min(finite, default=0.0)
    # Halves are subtracted, since a range beyond the largest float would be infinite.
    span = max(finite, default=0.0) / 2 - low / 2
    return "".join(_bar(value, low, span) for value in cells)


def _last_of_each(values: Sequence[float], width: int, total: int) -> list[float]:
    ends = [(cell + 1) * total // width for cell in range(width)]
    sampled = [values[end - 1] for end in ends if end <= len(values)]
    partial = len(sampled) < width and (ends[len(sampled) - 1] if sampled else 0) < len(values)
    return [*sampled, values[-1]] if partial else sampled


def _bar(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return _NOT_A_NUMBER
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
