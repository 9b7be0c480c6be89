"""A plan as lines of text and as a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.codec import readable
from orchestrator.plan.costs import Costs
from orchestrator.plan.extremes import Corner
from orchestrator.plan.memory_size import size_text
from orchestrator.plan.trial_counts import Plan
from orchestrator.progress import SECONDS, counted, duration, noun, plain, span
from orchestrator.training import Measured


def lines(plan: Plan, costs: Costs | None = None) -> list[str]:
    """Return a plan, and its costs if measured, as lines of text."""
    trials = counted(plan.trials, "trial") if plan.trials else "as many trials as the budget allows"
    each = f"at most {span(plan.longest, plan.unit)} each" if plan.longest else "each until its own end"
    paragraphs = [f"{plan.name}: {trials}, {each}"]
    if plan.configurations is not None:
        paragraphs.append(
            f"space: {counted(plan.configurations, 'distinct configuration')}, none of which is tried twice"
        )
    if plan.rungs:
        rungs = ", ".join(
            f"{_number(rung, plan.unit)} (about {counted(count, 'trial')})" for rung, count in plan.rungs.items()
        )
        paragraphs.append(f"{plan.scheduler}: rungs at {'' if plan.unit == SECONDS else f'{noun(plan.unit)} '}{rungs}")
    if plan.most is not None:
        expected = "" if plan.expected is None else f", about {_number(plan.expected, plan.unit)} expected"
        total = "training" if plan.unit == SECONDS else noun(plan.unit)
        paragraphs.append(f"{total}: at most {_number(plan.most, plan.unit)}{expected}")
    if plan.limits:
        paragraphs.append("budget: " + ", ".join(_limit(key, value) for key, value in plan.limits.items()))
    if plan.finals:
        trained = f", {span(plan.finals * plan.longest, plan.unit)}" if plan.longest else ""
        paragraphs.append(
            f"finals: at most {counted(plan.finals, 'training')} of the best{trained}, in addition to the above"
        )
    return paragraphs if costs is None else [*paragraphs, *_cost_lines(costs, plan.unit)]


def _number(amount: float, unit: str) -> str:
    """Return an amount without its unit: a time as ``10 min``, any other whole number with commas."""
    if unit == SECONDS:
        return duration(amount)
    return f"{amount:,}" if isinstance(amount, int) else plain(amount)


def _limit(key: str, value: float) -> str:
    """Return a limit as a sweep file says it: ``wall_clock 4h``, ``epochs 500``."""
    if key not in ("wall_clock", SECONDS):
        return f"{key} {value:g}"
    minutes, seconds = divmod(value, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return f"{key} " + "".join(f"{amount:g}{unit}" for amount, unit in parts if amount)


def _cost_lines(costs: Costs, unit: str) -> Iterator[str]:
    for name, corner in _named_corners(costs).items():
        needs = f"{_pace(corner.measured, unit)}, {size_text(corner.measured.memory)} of memory"
        yield f"{name} corner: {needs}; {readable(dict(corner.params))}"
    for name, amount in (("hours", costs.hours), ("GPU-hours", costs.gpu_hours), ("cost", costs.cost)):
        if amount is not None:
            concurrency = f" with {counted(costs.slots, 'trial')} at once" if name == "hours" else ""
            yield f"{name}: {_range(amount)}{concurrency}{_cut(costs) if name == 'hours' else ''}"
    device = f", {size_text(costs.device_memory)} of the GPU's" if costs.device_memory else ""
    yield f"memory: {size_text(costs.memory)} a trial{device}"
    yield f"checkpoints: {size_text(costs.disk)}"
    if not costs.gpus:
        yield "no GPU here: trials train on CPU cores"


def _named_corners(costs: Costs) -> dict[str, Corner]:
    """Return the corners by what they measured, since a few steps at the ends of parameters may have misjudged them."""
    corners = list(costs.corners.values())
    timed = sorted((c for c in corners if c.measured.seconds is not None), key=lambda c: c.measured.seconds or 0.0)
    named = {"fastest": timed[0], "slowest": timed[-1]} if timed else {}
    named["largest"] = max(corners, key=lambda c: (c.measured.device_memory, c.measured.memory))
    names: dict[int, list[str]] = {}
    for name, corner in named.items():
        names.setdefault(id(corner), []).append(name)
    return {" and ".join(names[id(corner)]): corner for corner in named.values()}


def _pace(measured: Measured, unit: str) -> str:
    if measured.seconds is not None:
        return f"{measured.seconds:.3g} s an epoch"
    rate = measured.rates.get(unit)
    return "an epoch of unknown length" if rate is None else f"{rate * 1000:.3g} s for 1,000 {noun(unit)}"


def _range(amount: tuple[float, float]) -> str:
    low, high = (f"{end:.2g}" for end in amount)
    return low if low == high else f"{low} to {high}"


def _cut(costs: Costs) -> str:
    """Return what a budget of time or money cuts, as the end of the line of hours."""
    uncut, hours = costs.uncut_hours, costs.hours
    if uncut is None or hours is None or hours[1] >= uncut[1]:
        return ""
    if hours[0] >= uncut[0]:
        return f"; at the most, {_range(uncut)} without the budget, which may then cut it"
    return f"; {_range(uncut)} without the budget, which cuts it after {hours[0] / uncut[0]:.0%} at best"


def as_record(plan: Plan, costs: Costs | None = None) -> dict[str, Any]:
    """Return the plan and its costs as plain values for JSON."""
    return asdict(plan) | {"max_epochs": plan.max_epochs} | ({"measured": asdict(costs)} if costs else {})
