"""Turn ``auto`` resources into numbers: cores by `core_sharing`, and the share of a GPU, measured by a few steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.codec import readable
from orchestrator.engine.tune.placement import cpu_count, gpu_count
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan.core_sharing import cores_of_a_trial
from orchestrator.plan.extremes import checked_roots, largest
from orchestrator.plan.memory_size import memory, size_text
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
    """Return the spec with numbers for ``resources.cpus`` and ``resources.gpus`` where they are ``auto``.

    The GPUs are 0 on a machine without one, and 1 for trials of several processes and those that run in this process.
    Otherwise the corner of the space with the most memory is trained for a few steps: on a cluster on a GPU of
    each kind, or on the first that becomes free. There ``until`` may end the wait by returning True.

    With ``resources: auto`` a cluster is not measured: a trial gets a GPU of its own where there are GPUs, but none
    with ``trainer.accelerator: cpu``.

    Raises:
        SpecError: If the spec's classes do not accept its arguments.
        UsageError: If a cluster has no GPU, or a trial does not use it.
    """
    if spec.resources.is_fitted and address and not local:
        from orchestrator.engine.tune.cluster_probe import whole_gpus

        cpus, gpus = (1, 0) if _is_on_cpu(spec) else whole_gpus(address)
        return _fitted(spec, cpus, gpus, "on this cluster")
    share_of_gpu, reason = _gpus(spec, local=local, address=address, until=until)
    if share_of_gpu is None:  # `until` ended the wait
        return spec
    if spec.resources.cpus != "auto":
        return spec if spec.resources.gpus != "auto" else settled(spec, share_of_gpu, reason)
    return fitted(spec, share_of_gpu, reason)


def _gpus(spec: SweepSpec, *, local: bool, address: str, until: Callable[[], object]) -> tuple[float | None, str]:
    """Return the GPUs of a trial and the reason; None if ``until`` ended the wait for a GPU."""
    resources = spec.resources
    if resources.gpus != "auto":
        return resources.gpus, ""
    if (local or not address) and not gpu_count():
        return 0, "this machine has no GPU"
    if resources.is_fitted and _is_on_cpu(spec):
        return 0, "trainer.accelerator is cpu"
    if local or resources.workers > 1:
        return 1, ""
    roots = checked_roots(spec)
    _print_notice("training a trial at the largest corner for a few steps, on a GPU of its own")
    needs = _measure_on_cluster(spec, roots, address, until) if address else [_measure_need(spec, roots, gpu_count())]
    if not needs:
        return None, ""
    if resources.is_fitted and any(need.measured is not None and not need.measured.device_memory for need in needs):
        return 0, "a trial did not use the GPU"
    shares = [_share(need) for need in needs]
    return max(shares), _reason(needs[shares.index(max(shares))])


def _is_on_cpu(spec: SweepSpec) -> bool:
    return spec.trainer.get("accelerator") == "cpu"


def settled(spec: SweepSpec, gpus: float, why: str = "") -> SweepSpec:
    """Return the spec with that many GPUs a trial, and print the reason.

    Raises:
        SpecError: If the number contradicts the budget.
    """
    spec = _with(spec, gpus=gpus)
    sharing = f", so that {int(1 / gpus)} trials share one" if 0 < gpus < 1 else ""
    _print_notice(f"{gpus:g} here{sharing}{': ' if why else ''}{why}")
    return spec


def fitted(spec: SweepSpec, gpus: float, why: str = "") -> SweepSpec:
    """Return the spec with that many GPUs a trial, and with CPU cores that fit this machine; print both.

    Raises:
        SpecError: If the GPUs contradict the budget.
    """
    cores, devices = cpu_count(), gpu_count() if gpus else 0
    cpus = cores_of_a_trial(spec, gpus, cores=cores, devices=devices, memory=memory())
    why = f": {why}" if why and why != "this machine has no GPU" else ""
    has = f"{cores} core{'s' * (cores > 1)}, {devices or 'no'} GPU{'s' * (devices > 1)}"
    return _fitted(spec, cpus, gpus, f"here ({has}{why})")


def _fitted(spec: SweepSpec, cpus: int, gpus: float, where: str) -> SweepSpec:
    """Set the resources of a trial and say so in one line."""
    spec = _with(spec, cpus=cpus, gpus=gpus)
    workers = f"{spec.resources.workers} processes with " if spec.resources.workers > 1 else ""
    device = f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else ""
    text = f"resources: auto: a trial gets {workers}{cpus} CPU core{'s' * (cpus > 1)}{device} {where}"
    print(masked(text), file=sys.stderr, flush=True)
    return spec


def _with(spec: SweepSpec, **amounts: float) -> SweepSpec:
    """Return the spec with these resources. Raises SpecError if they contradict the budget."""
    resources = spec.resources.model_copy(update=amounts)
    if problems := list(budget_problems(spec.budget, resources)):
        raise SpecError(replace(problem, **spec.locate(problem.path, key=True)) for problem in problems)
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
    used, total = size_text(need.measured.device_memory), size_text(need.measured.device_total)
    host, params = size_text(need.measured.memory), readable(dict(need.params))
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
