"""Choose the share of a GPU for ``resources.gpus: auto``, so that as many trials as fit share one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.codec import readable
from orchestrator.engine.tune.placement import gpu_count
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan.extremes import checked_roots, largest
from orchestrator.plan.memory_size import format_bytes, memory
from orchestrator.secrets import masked
from orchestrator.spec import SweepSpec
from orchestrator.spec.budget_checks import budget_problems
from orchestrator.training import Measured

_USABLE = 0.9  # of a GPU's memory: batches differ, and free memory is fragmented
_PARTS = 10_000  # Ray's resolution of a GPU share
_MAX_TRIALS = 100  # on a GPU; with more, rounding to parts could admit one too many


@dataclass(frozen=True)
class Need:
    """The resources of a trial at the large corner, measured on a GPU of its own; ``why`` says why they are unknown.

    ``memory`` is the host's memory for each of its GPUs, in bytes.
    """

    memory: int
    params: dict[str, Any]
    measured: Measured | None
    why: str = ""


def settle(
    spec: SweepSpec, *, local: bool = False, address: str = "", until: Callable[[], object] = lambda: None
) -> SweepSpec:
    """Return the spec with a number for ``resources.gpus`` if that is ``auto``, else unchanged.

    The number is 0 on a machine without a GPU, and 1 for trials of several processes and those that run in this
    process. Otherwise the corner of the space with the most memory is trained for a few steps: on a cluster on a GPU of
    each kind, or on the first that becomes free. There ``until`` may end the wait by returning True.

    Raises:
        SpecError: If the spec's classes do not accept its arguments.
        UsageError: If a cluster has no GPU, or a trial does not use it.
    """
    if spec.resources.gpus != "auto":
        return spec
    if (local or not address) and not gpu_count():
        return settled(spec, 0, "this machine has no GPU")
    if local or spec.resources.workers > 1:
        return settled(spec, 1)
    roots = checked_roots(spec)
    _print_notice("training a trial at the largest corner for a few steps, on a GPU of its own")
    needs = _measure_on_cluster(spec, roots, address, until) if address else [_measure_need(spec, roots, gpu_count())]
    if not needs:  # `until` ended the wait
        return spec
    shares = [_share(need) for need in needs]
    return settled(spec, max(shares), _reason(needs[shares.index(max(shares))]))


def settled(spec: SweepSpec, gpus: float, why: str = "") -> SweepSpec:
    """Return the spec with that many GPUs a trial, and print the reason.

    Raises:
        SpecError: If the number contradicts the budget.
    """
    resources = spec.resources.model_copy(update={"gpus": gpus})
    if problems := list(budget_problems(spec.budget, resources)):
        raise SpecError(replace(problem, **spec.locate(problem.path, key=True)) for problem in problems)
    sharing = f", so that {int(1 / gpus)} trials share one" if 0 < gpus < 1 else ""
    _print_notice(f"{gpus:g} here{sharing}{': ' if why else ''}{why}")
    return spec.model_copy(update={"resources": resources})


def share(measured: Measured, memory: int) -> float:
    """Return the share of a GPU, if each has that much of the host's memory; 0 if a trial uses none of the GPU."""
    if not measured.device_memory:
        return 0
    trials = min(int(_USABLE * measured.device_total / measured.device_memory), memory // measured.memory, _MAX_TRIALS)
    return _PARTS // trials / _PARTS if trials > 1 else 1


def _print_notice(text: str) -> None:
    print(masked(f"resources.gpus: auto: {text}"), file=sys.stderr, flush=True)


def _share(need: Need) -> float:
    if need.measured is None:
        return 1
    if not need.measured.device_memory:
        raise UsageError(
            f"resources.gpus: auto: a trial with a GPU of its own did not use it; {readable(dict(need.params))}",
            hint="check trainer.accelerator and that torch has CUDA there, or train on CPUs: --set resources.gpus=0",
        )
    return share(need.measured, need.memory)


def _reason(need: Need) -> str:
    if need.measured is None:
        return f"a trial's resources cannot be measured; {need.why}"
    used, total = format_bytes(need.measured.device_memory), format_bytes(need.measured.device_total)
    host, params = format_bytes(need.measured.memory), readable(dict(need.params))
    return f"a trial takes {used} of its {total}, and {host} of the host's; {params}"


def _measure_need(spec: SweepSpec, roots: list[str], gpus: int) -> Need:
    """Measure on this machine, which has ``gpus`` GPUs."""
    host_memory = memory() // max(1, gpus)
    try:
        corner = largest(spec, roots)
    except UsageError as error:
        return Need(host_memory, {}, None, str(error))
    return Need(host_memory, corner.params, corner.measured)


def _measure_on_cluster(spec: SweepSpec, roots: list[str], address: str, until: Callable[[], object]) -> list[Need]:
    from orchestrator.engine.tune.cluster_probe import run_on_gpus

    spec_json = spec.model_dump(mode="json")

    def measure(gpus: int) -> Need:  # in a worker process, on a host of the cluster
        return _measure_need(SweepSpec.model_validate(spec_json), roots, gpus)

    return run_on_gpus(address, spec.resources, measure, until)
