"""A plan for people, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.plan.costs import Costs
from orchestrator.plan.memory_size import shown
from orchestrator.plan.trial_counts import Plan


def lines(plan: Plan, costs: Costs | None = None) -> list[str]:
    """A plan in words."""
    trials = f"{plan.trials} trials" if plan.trials else "as many trials as the budget allows"
    epochs = (
        f"at most {plan.max_epochs} epochs each" if plan.max_epochs else "each as long as max_steps or max_time say"
    )
    said = [f"{plan.name}: {trials}, {epochs}"]
    if plan.rungs:
        rungs = ", ".join(f"{rung} (about {count} trials)" for rung, count in plan.rungs.items())
        said.append(f"{plan.scheduler}: rungs at epochs {rungs}")
    if plan.most is not None:
        said.append(f"epochs: at most {plan.most:,}, about {plan.expected:,} expected")
    if plan.limits:
        said.append("budget: " + ", ".join(f"{key} {value:g}" for key, value in plan.limits.items()))
    if plan.finals:
        whole = f", {plan.finals * plan.max_epochs:,} epochs" if plan.max_epochs else ""
        said.append(f"finals: at most {plan.finals} trainings of the best{whole}, beside the above")
    return said if costs is None else [*said, *_cost_lines(costs)]


def _cost_lines(costs: Costs) -> Iterator[str]:
    for kind, corner in costs.corners.items():
        seconds = corner.measured.seconds
        known = f"{seconds:.3g} s an epoch" if seconds is not None else "an epoch of unknown length"
        yield f"{kind} corner: {known}, {shown(corner.measured.memory)} of memory; {corner.params}"
    for name, amount in (("hours", costs.hours), ("GPU-hours", costs.gpu_hours), ("cost", costs.cost)):
        if amount is not None:
            at = f" with {costs.slots} trials at once" if name == "hours" else ""
            yield f"{name}: {amount[0]:.3g} to {amount[1]:.3g}{at}"
    device = f", {shown(costs.device_memory)} of the GPU's" if costs.device_memory else ""
    yield f"memory: {shown(costs.memory)} a trial{device}"
    yield f"checkpoints: {shown(costs.disk)}"


def as_record(plan: Plan, costs: Costs | None = None) -> dict[str, Any]:
    """The same as plain values."""
    return asdict(plan) | ({"measured": asdict(costs)} if costs else {})
