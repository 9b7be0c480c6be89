"""Estimate hours, memory, disk and cost of a sweep from measured corners, and check that all of it fits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.tune.placement import cpu_count, gpu_count, local_slots
from orchestrator.errors import UsageError
from orchestrator.plan.extremes import Corner, checked_roots, corners
from orchestrator.plan.gpu_sharing import fitted, settled, share
from orchestrator.plan.memory_size import memory, size_text
from orchestrator.plan.trial_counts import Plan
from orchestrator.progress import EPOCHS, SECONDS, counted
from orchestrator.rundir import runs_root
from orchestrator.spec import SweepSpec
from orchestrator.training import Measured

Range = tuple[float, float]
"""From the expected progress at the fastest corner to the most progress at the slowest."""
_PER_RUNNING_TRIAL = 4  # checkpoints: the latest, the best, one between two reports, and the one being written


@dataclass(frozen=True)
class Costs:
    """The measured corners and the estimates from them; a value that cannot be known is None.

    ``hours`` are of the whole sweep with ``slots`` trials at once, ``gpu_hours`` and ``cost`` of all trials, each up to
    what the budget allows; ``uncut_hours`` are what the trials would take without a budget of time or money. ``memory``
    and ``device_memory`` are one trial's peaks in bytes, ``disk`` is the size of all checkpoints in bytes. ``gpus`` are
    those of this machine.

    Example:
        ```python
        costs = Sweep.from_file("sweep.yaml").measure()
        print(costs.hours, costs.memory)
        ```
    """

    corners: dict[str, Corner]
    slots: int
    hours: Range | None
    gpu_hours: Range | None
    cost: Range | None
    memory: int
    device_memory: int
    disk: int
    uncut_hours: Range | None = None
    gpus: int = 0


def measure(spec: SweepSpec, plan: Plan, runs: str | Path | None = None) -> Costs:
    """Train a few steps at the corners of the space, one process after another.

    Raises:
        SpecError: If the spec's classes do not accept its arguments.
        UsageError: If a trial cannot be trained, or the sweep does not fit this machine.
    """
    if spec.resources.tpu:
        raise UsageError(
            f"a trial gets {spec.resources.tpu}, whose costs cannot be measured on this machine",
            hint="run sweep tpu plan for its processes, or sweep plan without --measure for trials and epochs",
        )
    from orchestrator.training.class_loading import with_full_paths

    roots = checked_roots(spec)
    spec = with_full_paths(spec)
    if spec.resources.is_fitted and not gpu_count():
        spec = fitted(spec, 0)
    measured_corners = corners(spec, roots)
    if spec.resources.gpus == "auto":
        part = share(_largest_corner(measured_corners), memory() // max(1, gpu_count()))
        spec = fitted(spec, part) if spec.resources.is_fitted else settled(spec, part)
    slots = local_slots(spec.resources, cpu_count())
    hours = _trial_hours(spec, plan, slots, measured_corners)
    gpus, price = spec.resources.gpu_count * spec.resources.workers, spec.resources.price
    costs = Costs(
        corners=measured_corners,
        slots=slots,
        hours=_limited(_scaled(hours, 1 / slots), (spec.budget.wall_clock or 0) / 3600),
        gpu_hours=_limited(_scaled(hours, gpus), spec.budget.gpu_hours) if gpus else None,
        cost=_limited(_scaled(hours, price), spec.budget.cost) if price else None,
        memory=max(corner.measured.memory for corner in measured_corners.values()),
        device_memory=max(corner.measured.device_memory for corner in measured_corners.values()),
        disk=_disk(spec, plan, slots, measured_corners),
        uncut_hours=_scaled(hours, 1 / slots) if plan.expected is not None else None,
        gpus=gpu_count(),
    )
    problems = list(_problems(spec, costs, runs))
    if problems:
        messages, hints = zip(*problems, strict=True)
        raise UsageError("; ".join(messages), hint="; ".join(dict.fromkeys(hints)))
    return costs


def _trial_hours(spec: SweepSpec, plan: Plan, slots: int, corners: dict[str, Corner]) -> Range | None:
    """Return the hours of all trials summed."""
    if plan.expected is not None and plan.most is not None:
        rates = [_seconds_for_one(corner.measured, plan.unit) for corner in corners.values()]
        known = [rate for rate in rates if rate is not None]
        if known:
            return plan.expected * min(known) / 3600, plan.most * max(known) / 3600
    if spec.budget.wall_clock is None:
        return None
    return (spec.budget.wall_clock * slots / 3600,) * 2


def _seconds_for_one(measured: Measured, unit: str) -> float | None:
    """Return the seconds for one of a unit of progress; None if that cannot be known."""
    if unit == SECONDS:
        return 1.0
    return measured.seconds if unit == EPOCHS else measured.rates.get(unit)


def _largest_corner(corners: dict[str, Corner]) -> Measured:
    """Return what was measured where a trial takes the most memory, that of a GPU first."""
    return max((each.measured for each in corners.values()), key=lambda each: (each.device_memory, each.memory))


def _scaled(hours: Range | None, factor: float) -> Range | None:
    return hours and (hours[0] * factor, hours[1] * factor)


def _limited(amount: Range | None, limit: float | None) -> Range | None:
    """Cap an amount by a budget, which ends the sweep."""
    return amount and (min(amount[0], limit or amount[0]), min(amount[1], limit or amount[1]))


def _disk(spec: SweepSpec, plan: Plan, slots: int, corners: dict[str, Corner]) -> int:
    """Return the bytes of checkpoints that exist at once: the best trials', and those of running or waiting trials.

    Each of them keeps its best and its latest.
    """
    size, best = _largest_checkpoint(corners), min(spec.checkpoints.keep_top, plan.trials or spec.checkpoints.keep_top)
    waiting = (plan.trials or 0) if getattr(spec.scheduler, "promote", False) else 0
    total = size * (2 * max(best, waiting) + _PER_RUNNING_TRIAL * slots)
    quota = spec.checkpoints.quota
    return total if quota is None else min(total, max(quota, _least_disk(slots, size)))


def _largest_checkpoint(corners: dict[str, Corner]) -> int:
    return max(corner.measured.checkpoint for corner in corners.values())


def _least_disk(slots: int, size: int) -> int:
    """Return the bytes that no quota removes: the winner's checkpoint and those that running trials resume from."""
    return size * (1 + _PER_RUNNING_TRIAL * slots)


def _problems(spec: SweepSpec, costs: Costs, runs: str | Path | None) -> Iterator[tuple[str, str]]:
    """Yield what does not fit, with a hint."""
    yield from _memory_problems(costs)
    quota, needed = spec.checkpoints.quota, _least_disk(costs.slots, _largest_checkpoint(costs.corners))
    if quota is not None and needed > quota:
        yield (
            f"checkpoints of {counted(costs.slots, 'trial')} at once need {size_text(needed)}, "
            f"and checkpoints.quota is {size_text(quota)}",
            f"--set checkpoints.quota={needed}",
        )
    root = runs_root(runs)
    if isinstance(root, Path) and costs.disk > (available := _free(root)):
        yield (
            f"checkpoints need {size_text(costs.disk)}, and {root} has {size_text(available)} free",
            "choose another folder with --runs",
        )


def _memory_problems(costs: Costs) -> Iterator[tuple[str, str]]:
    total = memory()
    if costs.memory > total:
        yield (
            f"a trial needs {size_text(costs.memory)} of memory, and the machine has {size_text(total)}",
            "narrow the space so that its largest corner is smaller",
        )
    elif (needed := costs.memory * costs.slots) > total:
        yield (
            f"{counted(costs.slots, 'trial')} at once need {size_text(needed)} of memory, "
            f"and the machine has {size_text(total)}",
            f"--set resources.concurrent={total // costs.memory}",
        )
    device = max(corner.measured.device_total for corner in costs.corners.values())
    if costs.device_memory > device:
        yield (
            f"a trial needs {size_text(costs.device_memory)} of the GPU's {size_text(device)}",
            "narrow the space so that its largest corner is smaller",
        )


def _free(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free
