"""The kinds of device on which trials run: GPUs or CPUs, TPU slices, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.errors import Problem
from orchestrator.space import KeyProblem
from orchestrator.spec.parts import Resources
from orchestrator.spec.tpu_slices import Slice, slice_of

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec

GPU = "gpu"
"""The kind of device that is no slice: a GPU, or a CPU if ``resources.gpus`` is 0."""
SET_BY_LAUNCHER = ("accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm")
"""Trainer arguments that the launcher sets for a trial on a slice."""
_OF_A_SLICE = ("topology", "slices", "runtime")
_MIXED = ("bf16-mixed", "16-mixed", "bf16", "16", 16)


def trial_slice(resources: Resources) -> Slice | None:
    """Return the slice that a trial gets; None if it gets none."""
    return slice_of(resources.tpu, resources.topology) if resources.tpu else None


def kinds(resources: Resources) -> tuple[str, ...]:
    """Return the kinds of device on which trials may run: a slice by its name, and ``gpu``.

    A trial stays on the kind on which it started, since another kind computes with different arithmetic.
    """
    slices = (tpu_slice.name,) if (tpu_slice := trial_slice(resources)) else ()
    return (*slices, GPU) if resources.gpus or not slices else slices


def resource_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield contradictions in the resources, most of them about TPU slices."""
    resources = spec.resources
    if not resources.tpu:
        for name in _OF_A_SLICE:
            default = Resources.model_fields[name].default
            if name in resources.model_fields_set and getattr(resources, name) != default:
                message = f"resources.{name} describes a TPU slice, but resources.tpu is missing"
                yield KeyProblem(message, "e.g. resources: {tpu: v5e-16, topology: 4x4}", ("resources", name))
        if resources.workers > 1 and 0 < resources.gpu_count < 1:
            message = "resources.gpus: each of several processes needs a GPU of its own, as NCCL requires"
            yield Problem(message, "gpus: 1, or workers: 1", ("resources", "gpus"))
        return
    if resources.gpus == "auto":
        message = "resources.gpus: auto is measured only if all trials run on GPUs, and resources.tpu is given"
        yield Problem(message, "e.g. gpus: 1", ("resources", "gpus"))
    try:
        tpu_slice = slice_of(resources.tpu, resources.topology)
    except ValueError as error:
        usual = slice_of(resources.tpu).topology
        yield Problem(f"resources.topology: {error}", f"e.g. topology: {usual}", ("resources", "topology"))
        return
    yield from _runtime_problems(resources, tpu_slice)
    if resources.workers > 1:
        message = "resources.workers: the processes of a trial on a TPU slice follow from the slice"
        yield Problem(message, "leave it out, or give no resources.tpu", ("resources", "workers"))
    yield from _trainer_problems(spec)
    if spec.budget.gpu_hours is not None:
        message = "budget.gpu_hours does not count TPU slices"
        yield KeyProblem(message, "use epochs, wall_clock or cost", ("budget", "gpu_hours"))


def _runtime_problems(resources: Resources, tpu_slice: Slice) -> Iterator[Problem]:
    path = ("resources", "runtime")
    if resources.runtime == "xla-mp" and tpu_slice.generation.devices > 1:
        message = f"resources.runtime: a chip of {tpu_slice.name} is two XLA devices, and xla-mp has one a process"
        yield Problem(message, "use runtime: xla-spmd", path)
    if resources.runtime == "rehearsal-spmd" and tpu_slice.hosts * resources.slices > 1:
        message = f"resources.runtime: {tpu_slice.name} has several hosts, and XLA cannot join CPUs across hosts"
        yield Problem(message, "use runtime: rehearsal-gloo, or a slice of one host", path)


def _trainer_problems(spec: SweepSpec) -> Iterator[Problem]:
    for name in SET_BY_LAUNCHER:
        for path in (("trainer", name), ("space", f"trainer.{name}")):
            if path[1] in (spec.trainer if path[0] == "trainer" else spec.space):
                message = f"trainer.{name} is set by the TPU launcher, since resources.tpu is set"
                yield KeyProblem(message, "leave it out; resources specifies the devices of a trial", path)
    precision = spec.trainer.get("precision")
    if precision in _MIXED:
        message = f"trainer.precision: XLA has no {precision}"
        yield Problem(message, "use bf16-true or 32-true", ("trainer", "precision"))
