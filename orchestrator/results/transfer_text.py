"""What a transfer has found, in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator.results.size_law import LEVEL, Interval
from orchestrator.results.transfer import Transfer


def transfer_lines(found: Transfer) -> list[str]:
    """Return what a transfer has found, for a terminal."""
    trials = ", ".join(f"{size:g} ({count} trials)" for size, count in found.trials.items())
    lines = [f"{found.parameter} {found.size:g}, from {trials}; {LEVEL:.0%} intervals"]
    for each in found.moved:
        where = ", ".join(f"{_text(at)} at {size:g}" for size, at in each.optima.items())
        lines.append(f"{each.name}: optimum {where}")
        if each.refused:
            lines.append(f"  refused, its range stays whole: {each.refused}")
            continue
        moves = "moves as the size to the power of" if each.log else "moves with each doubling by"
        lines.append(f"  {moves} {_text(each.exponent)}: {_text(each.predicted)} at {found.size:g}")
        lines.append(f"  search {each.low:g} to {each.high:g}")
    if found.left:
        lines.append(f"as they were: {', '.join(found.left)}")
    return [*lines, *found.notices]


def _text(interval: Interval) -> str:
    return f"{interval.middle:.3g} ({interval.low:.3g} to {interval.high:.3g})"


def transfer_record(found: Transfer) -> dict[str, Any]:
    """Return it as plain values: intervals as ``{"middle": …, "low": …, "high": …}``, the sweep under ``spec``."""
    moved = [asdict(each) | {"optima": {f"{size:g}": asdict(at) for size, at in each.optima.items()}}
             for each in found.moved]  # fmt: skip
    plain = {"parameter": found.parameter, "size": found.size, "moved": moved, "points": found.points}
    counts = {f"{size:g}": count for size, count in found.trials.items()}
    spec = found.spec.model_dump(mode="json")
    return {**plain, "level": LEVEL, "trials": counts, "left": found.left, "notices": found.notices, "spec": spec}
