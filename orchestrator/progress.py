"""Progress: how far a trial is, as a number in the unit of its sweep. No imports of the package but errors.

A unit is ``epochs``, ``steps`` (of the optimizer), ``samples``, ``seconds`` (of training), or ``metric:NAME``, a
counter that the module logs. A number is an int when it is whole, so that epoch 3 is 3 in every journal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

EPOCHS = "epochs"
UNITS = (EPOCHS, "steps", "samples", "seconds")
"""The units that every report carries."""
COUNTER = "metric:"
"""Begins the unit of a counter that the module logs."""
_MEASURES = {EPOCHS: "epoch", "steps": "step", "samples": "samples", "seconds": "seconds"}


def whole(number: float) -> float:
    """Return the number as an int if it is whole."""
    return int(number) if math.isfinite(number) and number == int(number) else number


def value(measures: Mapping[str, Any], unit: str) -> float | None:
    """Return how far a report is in a unit; None if it does not say.

    Args:
        measures: ``epoch``, ``step``, ``samples``, ``seconds`` and ``counters`` of the report, and its ``metrics``.
        unit: one of `UNITS`, or ``metric:NAME``.
    """
    if unit.startswith(COUNTER):
        name = unit.removeprefix(COUNTER)
        found = (measures.get("counters") or {}).get(name, (measures.get("metrics") or {}).get(name))
    else:
        found = measures.get(_MEASURES[unit])
    return None if found is None or not math.isfinite(number := float(found)) else whole(number)
