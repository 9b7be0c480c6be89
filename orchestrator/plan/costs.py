"""Hours, memory, disk and money of a sweep, from what its corners cost; and whether all of it fits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.tune.placement import cpu_count, gpu_count, local_slots
from orchestrator.errors import UsageError
from orchestrator.plan.extremes import Corner, checked_roots, corners
from orchestrator.plan.gpu_sharing import settled, share
from orchestrator.plan.memory_size import memory, shown
from orchestrator.plan.trial_counts import Plan
from orchestrator.rundir import runs_root
from orchestrator.spec import SweepSpec

Range = tuple[float, float]
"""From the expected epochs at the cheap corner to the most epochs at the dear one."""
_IN_WORK = 3  # checkpoints of a trial that runs: its latest, its best, and the one being written


@dataclass(frozen=True)
class Costs:
    """What was measured, and what follows from it. None where nobody can know.

    ``hours`` are those of the whole sweep, ``slots`` trials at once; ``gpu_hours`` and ``cost`` those of all trials.
    ``memory`` and ``device_memory``, of one trial at its peak, and ``disk``, of all checkpoints, are in bytes.
    """

    corners: dict[str, Corner]
    slots: int
    hours: Range | None
    gpu_hours: Range | None
    cost: Range | None
    memory: int
    device_memory: int
    disk: int


def measure(spec: SweepSpec, plan: Plan, runs: str | Path | None = None) -> Costs:
    """Train a few steps at the corners of the space, one process after another.

    Raises SpecError where the spec's classes do not take what it gives them, UsageError where a trial cannot be trained
    or the sweep does not fit this machine.
    """
    if spec.resources.tpu:
        raise UsageError(
            f"a trial gets {spec.resources.tpu}, and what that takes cannot be measured on this machine",
            hint="sweep tpu plan shows its processes; sweep plan without --measure the trials and epochs",
        )
    found = corners(spec, checked_roots(spec))
    if spec.resources.gpus == "auto":
        spec = settled(spec, share(found["large"].measured, memory() // max(1, gpu_count())))
    slots = local_slots(spec.resources, cpu_count())
    hours = _trial_hours(spec, plan, slots, found)
    gpus, price = spec.resources.gpu_count * spec.resources.workers, spec.resources.price
    costs = Costs(
        corners=found,
        slots=slots,
        hours=_at_most(_times(hours, 1 / slots), (spec.budget.wall_clock or 0) / 3600),
        gpu_hours=_at_most(_times(hours, gpus), spec.budget.gpu_hours) if gpus else None,
        cost=_at_most(_times(hours, price), spec.budget.cost) if price else None,
        memory=max(corner.measured.memory for corner in found.values()),
        device_memory=max(corner.measured.device_memory for corner in found.values()),
        disk=_disk(spec, plan, slots, found),
    )
    faults = list(_faults(spec, costs, runs))
    if faults:
        messages, hints = zip(*faults, strict=True)
        raise UsageError("; ".join(messages), hint="; ".join(dict.fromkeys(hints)))
    return costs


def _trial_hours(spec: SweepSpec, plan: Plan, slots: int, found: dict[str, Corner]) -> Range | None:
    """Hours that trials run, all together."""
    cheap, dear = found["cheap"].measured.seconds, found["dear"].measured.seconds
    if plan.expected is not None and plan.most is not None and cheap is not None and dear is not None:
        return plan.expected * cheap / 3600, plan.most * dear / 3600
    if spec.budget.wall_clock is None:
        return None
    return (spec.budget.wall_clock * slots / 3600,) * 2


def _times(hours: Range | None, factor: float) -> Range | None:
    return hours and (hours[0] * factor, hours[1] * factor)


def _at_most(amount: Range | None, limit: float | None) -> Range | None:
    """A budget ends what goes beyond it."""
    return amount and (min(amount[0], limit or amount[0]), min(amount[1], limit or amount[1]))


def _disk(spec: SweepSpec, plan: Plan, slots: int, found: dict[str, Corner]) -> int:
    """Bytes of the checkpoints that are there at once: the best trials', and those of what runs or waits."""
    size, kept = _largest(found), min(spec.checkpoints.keep_top, plan.trials or spec.checkpoints.keep_top)
    waiting = (plan.trials or 0) if getattr(spec.scheduler, "promote", False) else 0
    wanted = size * (max(kept, waiting) + _IN_WORK * slots)
    return wanted if spec.checkpoints.quota is None else min(wanted, max(spec.checkpoints.quota, _needed(slots, size)))


def _largest(found: dict[str, Corner]) -> int:
    return max(corner.measured.checkpoint for corner in found.values())


def _needed(slots: int, size: int) -> int:
    """What no quota takes away: the winner's, and what trials that run go on from."""
    return size * (1 + _IN_WORK * slots)


def _faults(spec: SweepSpec, costs: Costs, runs: str | Path | None) -> Iterator[tuple[str, str]]:
    """What does not fit, and what to do about it."""
    yield from _memory_faults(costs)
    quota, needed = spec.checkpoints.quota, _needed(costs.slots, _largest(costs.corners))
    if quota is not None and needed > quota:
        said = (
            f"checkpoints of {costs.slots} trials at once need {shown(needed)}, and checkpoints.quota is {shown(quota)}"
        )
        yield said, f"--set checkpoints.quota={needed}"
    root = runs_root(runs)
    if isinstance(root, Path) and costs.disk > (free := _free(root)):
        yield f"checkpoints need {shown(costs.disk)}, and {root} has {shown(free)} free", "choose another --runs"


def _memory_faults(costs: Costs) -> Iterator[tuple[str, str]]:
    there = memory()
    if costs.memory > there:
        yield (
            f"a trial needs {shown(costs.memory)} of memory, and there are {shown(there)}",
            "make the dear corner smaller",
        )
    elif (together := costs.memory * costs.slots) > there:
        said = f"{costs.slots} trials at once need {shown(together)} of memory, and there are {shown(there)}"
        yield said, f"--set resources.concurrent={there // costs.memory}"
    device = max(corner.measured.device_total for corner in costs.corners.values())
    if costs.device_memory > device:
        yield f"a trial needs {shown(costs.device_memory)} of the GPU's {shown(device)}", "make the dear corner smaller"


def _free(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free
