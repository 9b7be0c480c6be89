"""A curve in a line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_NOT_A_NUMBER = "×"


def sparkline(values: Sequence[float], width: int, epochs: int) -> str:
    """The values as bars from the trial's own least to its own greatest, at most ``width`` characters.

    ``epochs`` is how long a whole training is: one of half that length fills half the width. Where several epochs
    share a character the last one counts; ``×`` is a value that is not finite.
    """
    if not values or width < 1:
        return ""
    whole = max(epochs, len(values))
    cells = values if whole <= width else _last_of_each(values, width, whole)
    finite = [value for value in cells if math.isfinite(value)]
    low = min(finite, default=0.0)
    # A range beyond the largest float would be infinite: halves of it are not.
    span = max(finite, default=0.0) / 2 - low / 2
    return "".join(_bar(value, low, span) for value in cells)


def _last_of_each(values: Sequence[float], width: int, whole: int) -> list[float]:
    ends = [(cell + 1) * whole // width for cell in range(width)]
    found = [values[end - 1] for end in ends if end <= len(values)]
    begun = len(found) < width and (ends[len(found) - 1] if found else 0) < len(values)
    return [*found, values[-1]] if begun else found


def _bar(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return _NOT_A_NUMBER
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
