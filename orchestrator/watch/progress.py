"""How far a sweep is, and how long it may yet take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.state import SweepState


@dataclass(frozen=True)
class Progress:
    """``share`` of what ends the sweep first, from 0 to 1; ``left`` in seconds. None where nobody can know."""

    share: float | None
    left: float | None


def progress(state: SweepState, spent: Mapping[str, float]) -> Progress:
    """By whichever budget is nearest to its end, at the pace so far.

    Of trials those count that have ended or were set aside: most of the latter go no further.
    """
    if state.status == "completed":
        return Progress(1.0, None)
    budget = state.spec["budget"]
    done = {**spent, "trials": state.count("finished", "stopped", "failed", "set_aside")}
    limits = {key: budget.get(key) for key in ("trials", "epochs", "wall_clock", "gpu_hours", "cost")}
    reserve = budget.get("reserve") or 0.0
    shares = [
        min(1.0, done[key] / (limit * (1.0 if key in ("trials", "wall_clock") else 1.0 - reserve)))
        for key, limit in limits.items()
        if limit and key in done
    ]
    share = max(shares, default=None)
    if not share or state.status != "running":
        return Progress(share, None)
    left = state.active_seconds * (1.0 - share) / share
    if budget.get("wall_clock"):
        left = min(left, max(0.0, budget["wall_clock"] - state.active_seconds))
    return Progress(share, left)
