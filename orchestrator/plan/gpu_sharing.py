"""``resources.gpus: auto``: how large a share of a GPU a trial's memory takes, so that as many as fit share one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.engine.tune.placement import gpu_count
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan.extremes import checked_roots, largest
from orchestrator.plan.memory_size import memory, shown
from orchestrator.spec import SweepSpec
from orchestrator.spec.budget_checks import budget_problems
from orchestrator.training import Measured

_FULL = 0.9  # of a GPU's memory: batches differ, and what is freed is not always in one piece
_PARTS = 10_000  # of a GPU, in which Ray counts
_MOST = 100  # trials on one; beyond, a whole number of parts could let in one too many


@dataclass(frozen=True)
class Need:
    """What a trial at the large corner took on a GPU of its own: ``measured``, or ``why`` that cannot be known.

    ``memory``, in bytes, is the host's for each of its GPUs.
    """

    memory: int
    params: dict[str, Any]
    measured: Measured | None
    why: str = ""


def settle(
    spec: SweepSpec, *, local: bool = False, address: str = "", until: Callable[[], object] = lambda: None
) -> SweepSpec:
    """The spec with a number for ``resources.gpus``, where that says ``auto``; else as it is.

    It is 0 on a machine without a GPU, and a whole one for trials of several processes and for those that run in this
    process. Else the corner of the space that takes the most memory is trained for a few steps: on a cluster on a GPU
    of each kind that it has, or on the first that comes. There ``until`` may say that nobody waits any longer.

    Raises SpecError where the spec's classes do not take what it gives them, UsageError where a cluster has no GPU, or
    a trial makes no use of it.
    """
    if spec.resources.gpus != "auto":
        return spec
    if (local or not address) and not gpu_count():
        return settled(spec, 0, "this machine has no GPU")
    if local or spec.resources.workers > 1:
        return settled(spec, 1)
    roots = checked_roots(spec)
    _say("a trial at the largest corner is trained for a few steps, on a GPU of its own")
    needs = _elsewhere(spec, roots, address, until) if address else [_need(spec, roots, gpu_count())]
    if not needs:  # nobody waits for it any longer
        return spec
    shares = [_share(need) for need in needs]
    return settled(spec, max(shares), _words(needs[shares.index(max(shares))]))


def settled(spec: SweepSpec, gpus: float, why: str = "") -> SweepSpec:
    """The spec with so many GPUs for a trial, said with the reason. Raises SpecError where that cannot be meant."""
    resources = spec.resources.model_copy(update={"gpus": gpus})
    if problems := list(budget_problems(spec.budget, resources)):
        raise SpecError(replace(problem, **spec.locate(problem.path, key=True)) for problem in problems)
    together = f", so that {int(1 / gpus)} trials share one" if 0 < gpus < 1 else ""
    _say(f"{gpus:g} here{together}{': ' if why else ''}{why}")
    return spec.model_copy(update={"resources": resources})


def share(measured: Measured, memory: int) -> float:
    """The share of a GPU, where each comes with so much of the host's memory; 0 where a trial uses none of it."""
    if not measured.device_memory:
        return 0
    together = min(int(_FULL * measured.device_total / measured.device_memory), memory // measured.memory, _MOST)
    return _PARTS // together / _PARTS if together > 1 else 1


def _say(text: str) -> None:
    print(f"resources.gpus: auto: {text}", file=sys.stderr, flush=True)


def _share(need: Need) -> float:
    if need.measured is None:
        return 1
    if not need.measured.device_memory:
        raise UsageError(
            f"resources.gpus: auto: a trial that had a GPU to itself used nothing of it; {need.params}",
            hint="trainer.accelerator, or a torch without CUDA there? --set resources.gpus=0 trains on CPUs",
        )
    return share(need.measured, need.memory)


def _words(need: Need) -> str:
    if need.measured is None:
        return f"what a trial takes cannot be measured; {need.why}"
    taken, there = shown(need.measured.device_memory), shown(need.measured.device_total)
    return f"a trial takes {taken} of its {there}, and {shown(need.measured.memory)} of the host's; {need.params}"


def _need(spec: SweepSpec, roots: list[str], gpus: int) -> Need:
    """Measured on this machine, which has so many GPUs."""
    room = memory() // max(1, gpus)
    try:
        corner = largest(spec, roots)
    except UsageError as error:
        return Need(room, {}, None, str(error))
    return Need(room, corner.params, corner.measured)


def _elsewhere(spec: SweepSpec, roots: list[str], address: str, until: Callable[[], object]) -> list[Need]:
    from orchestrator.engine.tune.cluster_probe import run_on_gpus

    asked = spec.model_dump(mode="json")

    def work(gpus: int) -> Need:  # in a worker process, on a host of the cluster
        return _need(SweepSpec.model_validate(asked), roots, gpus)

    return run_on_gpus(address, spec.resources, work, until)
