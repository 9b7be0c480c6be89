"""A plan as lines of text and as a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.codec import readable
from orchestrator.plan.costs import Costs
from orchestrator.plan.memory_size import format_bytes
from orchestrator.plan.trial_counts import Plan


def lines(plan: Plan, costs: Costs | None = None) -> list[str]:
    """Return a plan, and its costs if measured, as lines of text."""
    trials = f"{plan.trials} trials" if plan.trials else "as many trials as the budget allows"
    epochs = f"at most {plan.max_epochs} epochs each" if plan.max_epochs else "each until max_steps or max_time"
    paragraphs = [f"{plan.name}: {trials}, {epochs}"]
    if plan.configurations is not None:
        paragraphs.append(f"space: {plan.configurations:,} distinct configurations, none of which is tried twice")
    if plan.rungs:
        rungs = ", ".join(f"{rung} (about {count} trials)" for rung, count in plan.rungs.items())
        paragraphs.append(f"{plan.scheduler}: rungs at epochs {rungs}")
    if plan.most is not None:
        paragraphs.append(f"epochs: at most {plan.most:,}, about {plan.expected:,} expected")
    if plan.limits:
        paragraphs.append("budget: " + ", ".join(f"{key} {value:g}" for key, value in plan.limits.items()))
    if plan.finals:
        epochs_of_finals = f", {plan.finals * plan.max_epochs:,} epochs" if plan.max_epochs else ""
        paragraphs.append(
            f"finals: at most {plan.finals} trainings of the best{epochs_of_finals}, in addition to the above"
        )
    return paragraphs if costs is None else [*paragraphs, *_cost_lines(costs)]


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
    return asdict(plan) | ({"measured": asdict(costs)} if costs else {})
