"""Progress: how far a trial is, as a number in the unit of its sweep.

A unit is ``epochs``, ``steps`` (of the optimizer), ``samples``, ``seconds`` (of training), or ``metric:NAME``, a
counter that the module logs. A number is an int when it is whole, so that epoch 3 is 3 in every journal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

EPOCHS, SECONDS = "epochs", "seconds"
UNITS = (EPOCHS, "steps", "samples", SECONDS)
"""The units that every report carries."""
COUNTER = "metric:"
"""Begins the unit of a counter that the module logs."""
_MEASURES = {EPOCHS: "epoch", "steps": "step", "samples": "samples", SECONDS: "seconds"}
_SINGULAR = {EPOCHS: "epoch", "steps": "step", "samples": "sample", SECONDS: "second"}
_TIMES = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_TIME_WORD = r"(\d+(?:\.\d+)?)\s*(d(?:ays?)?|h(?:ours?)?|m(?:in(?:utes?)?)?|s(?:econds?)?)\s*"
_TIME, _TIME_PART = re.compile(rf"(?:{_TIME_WORD})+"), re.compile(_TIME_WORD)
_AMOUNT = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?(?:e[+-]?\d+)?)([kMB]?)(?:\s+(\S+))?", re.IGNORECASE)
_LETTERS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


class Amount(float):
    """A number of a unit, as text in a sweep file said it: ``500 steps``. ``unit`` is the unit that the text names."""

    unit: str

    def __new__(cls, number: float, unit: str) -> Amount:
        """Return an amount."""
        amount = super().__new__(cls, number)
        amount.unit = unit
        return amount


def whole(number: float) -> float:
    """Return the number as an int if it is whole."""
    return int(number) if math.isfinite(number) and number == int(number) else float(number)


def value(measures: Mapping[str, Any], unit: str) -> float | None:
    """Return how far a report is in a unit; None if it does not say.

    Args:
        measures: ``epoch``, ``step``, ``samples``, ``seconds`` and ``counters`` of the report, and its ``metrics``.
        unit: one of `UNITS`, or ``metric:NAME``.
    """
    if unit.startswith(COUNTER):
        name = unit.removeprefix(COUNTER)
        measure = (measures.get("counters") or {}).get(name, (measures.get("metrics") or {}).get(name))
    else:
        measure = measures.get(_MEASURES[unit])
    return None if measure is None or not math.isfinite(number := float(measure)) else whole(number)


def noun(unit: str) -> str:
    """Return a unit as people say it: ``tokens_seen`` for ``metric:tokens_seen``."""
    return unit.removeprefix(COUNTER)


def place(number: float, unit: str) -> str:
    """Return a progress in words, to follow *at* or *after*: ``epoch 3``, ``step 500``, ``10 min``, ``2M samples``."""
    if unit in (EPOCHS, "steps"):
        return f"{_SINGULAR[unit]} {plain(number)}"
    return span(number, unit)


def span(number: float, unit: str) -> str:
    """Return an amount in words: ``3 epochs``, ``500 steps``, ``10 min``, ``2M samples``."""
    if unit == SECONDS:
        return duration(number)
    named = _SINGULAR.get(unit, noun(unit)) if number == 1 else noun(unit)
    return f"{plain(number) if unit in (EPOCHS, 'steps') else short(number)} {named}"


def counted(number: float | str, noun: str) -> str:
    """Return a number of things in words: ``1 trial``, ``1,200 trials``, ``0.5 GPU-hours``.

    A journal may hold a number as a text, such as ``Infinity``, which stays as it is.
    """
    digits = f"{number:,}" if isinstance(number, int) else f"{number:.4g}" if isinstance(number, float) else str(number)
    return f"{digits} {noun}{'' if number == 1 else 's'}"


def percent(share: float, gap: str = " ") -> str:
    """Return a share in words: ``12 %``, ``0.4 %`` below one in a hundred; 0 % is of none, and 100 % of all."""
    if 0 < share < 0.001:
        return f"below 0.1{gap}%"
    if 0.995 <= share < 1:
        return f"above 99{gap}%"
    return f"{100 * share:.1f}{gap}%" if 0 < share < 0.01 else f"{100 * share:.0f}{gap}%"


def axis(unit: str) -> str:
    """Return the title of an axis or a column: ``epoch``, ``step``, ``seconds``, ``tokens_seen``."""
    return _SINGULAR[unit] if unit in (EPOCHS, "steps") else noun(unit)


def figure(number: float, unit: str) -> str:
    """Return a progress for a column of that unit: ``3``, ``500``, ``10 min``, ``2M``."""
    if unit == SECONDS:
        return duration(number)
    return plain(number) if unit in (EPOCHS, "steps") else short(number)


def plain(number: float) -> str:
    """Return a number without needless digits: ``3``, ``0.75``, ``0.333``."""
    return str(number) if isinstance(number, int) else f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def short(number: float) -> str:
    """Return a large number in three digits: ``2M``, ``1.25k``, ``3.2B``; a small one as it is."""
    for letter, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= 10 * size or (abs(number) >= size and letter != "k"):
            return f"{number / size:.3g}{letter}"
    return plain(whole(number))


def duration(seconds: float) -> str:
    """Return a time in words: ``45 s``, ``10 min``, ``1 h 30 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{count} {name}" for count, name in parts if count)


def amount(text: str) -> Amount | float:
    """Return the number that a text says, with its unit if it names one: ``500 steps``, ``2e9 samples``, ``10m``.

    A number may end in k, M or B: ``2M samples``. A time such as ``10m`` or ``1h30m`` is in seconds. Any other word is
    the name of a counter: ``2M tokens_seen``.

    Raises:
        ValueError: It says no number.
    """
    text = text.strip()
    if _TIME.fullmatch(text):
        return Amount(sum(float(n) * _TIMES[unit[0]] for n, unit in _TIME_PART.findall(text)), SECONDS)
    parts = _AMOUNT.fullmatch(text)
    if parts is None:
        raise ValueError(f"expected a number, or a number and a unit such as 500 steps or 10m, but got {text!r}")
    number = whole(float(parts[1].replace("_", "")) * _LETTERS[parts[2].lower()])
    return Amount(number, unit_named(parts[3])) if parts[3] else number


def unit_named(word: str) -> str:
    """Return the unit that a word names, which may be in the singular; any word but a unit is a counter's name."""
    plural = {singular: unit for unit, singular in _SINGULAR.items()}
    word = plural.get(word, word)
    return word if word in UNITS or word.startswith(COUNTER) else f"{COUNTER}{word}"
