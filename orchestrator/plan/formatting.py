"""A plan as lines of text and as a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.codec import readable
from orchestrator.plan.costs import Costs
from orchestrator.plan.memory_size import format_bytes
from orchestrator.plan.trial_counts import Plan
from orchestrator.progress import SECONDS, duration, noun, plain, span


def lines(plan: Plan, costs: Costs | None = None) -> list[str]:
    """Return a plan, and its costs if measured, as lines of text."""
    trials = f"{plan.trials} trials" if plan.trials else "as many trials as the budget allows"
    each = f"at most {span(plan.longest, plan.unit)} each" if plan.longest else "each until its own end"
    paragraphs = [f"{plan.name}: {trials}, {each}"]
    if plan.configurations is not None:
        paragraphs.append(f"space: {plan.configurations:,} distinct configurations, none of which is tried twice")
    if plan.rungs:
        rungs = ", ".join(f"{_number(rung, plan.unit)} (about {count} trials)" for rung, count in plan.rungs.items())
        paragraphs.append(f"{plan.scheduler}: rungs at {'' if plan.unit == SECONDS else f'{noun(plan.unit)} '}{rungs}")
    if plan.most is not None:
        expected = "" if plan.expected is None else f", about {_number(plan.expected, plan.unit)} expected"
        total = "training" if plan.unit == SECONDS else noun(plan.unit)
        paragraphs.append(f"{total}: at most {_number(plan.most, plan.unit)}{expected}")
    if plan.limits:
        paragraphs.append("budget: " + ", ".join(f"{key} {value:g}" for key, value in plan.limits.items()))
    if plan.finals:
        trained = f", {span(plan.finals * plan.longest, plan.unit)}" if plan.longest else ""
        paragraphs.append(f"finals: at most {plan.finals} trainings of the best{trained}, in addition to the above")
    return paragraphs if costs is None else [*paragraphs, *_cost_lines(costs)]


def _number(amount: float, unit: str) -> str:
    """Return an amount without its unit: a time as ``10 min``, any other whole number with commas."""
    if unit == SECONDS:
        return duration(amount)
    return f"{amount:,}" if isinstance(amount, int) else plain(amount)


def _cost_lines(costs: Costs) -> Iterator[str]:
    for kind, corner in costs.corners.items():
        seconds = corner.measured.seconds
        duration = f"{seconds:.3g} s an epoch" if seconds is not None else "an epoch of unknown length"
        params = readable(dict(corner.params))
        yield f"{kind} corner: {duration}, {format_bytes(corner.measured.memory)} of memory; {params}"
    for name, amount in (("hours", costs.hours), ("GPU-hours", costs.gpu_hours), ("cost", costs.cost)):
        if amount is not None:
            concurrency = f" with {costs.slots} trials at once" if name == "hours" else ""
            yield f"{name}: {amount[0]:.3g} to {amount[1]:.3g}{concurrency}"
    device = f", {format_bytes(costs.device_memory)} of the GPU's" if costs.device_memory else ""
    yield f"memory: {format_bytes(costs.memory)} a trial{device}"
    yield f"checkpoints: {format_bytes(costs.disk)}"


def as_record(plan: Plan, costs: Costs | None = None) -> dict[str, Any]:
    """Return the plan and its costs as plain values for JSON."""
    return asdict(plan) | {"max_epochs": plan.max_epochs} | ({"measured": asdict(costs)} if costs else {})
