"""On which kinds of device trials run: GPUs or CPUs, TPU slices, or both."""

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
OWN = ("accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm")
"""Trainer arguments that the launcher sets for a trial on a slice."""
REHEARSALS = ("rehearsal-spmd", "rehearsal-gloo")
"""Runtimes that train on the hosts' CPUs through XLA."""
_OF_A_SLICE = ("topology", "slices", "runtime")
_MIXED = ("bf16-mixed", "16-mixed", "bf16", "16", 16)


def wanted_slice(resources: Resources) -> Slice | None:
    """Return the slice that a trial gets; None if it gets none."""
    return slice_of(resources.tpu, resources.topology) if resources.tpu else None


def kinds(resources: Resources) -> tuple[str, ...]:
    """Return the kinds of device on which trials may run: a slice by its name, and ``gpu``.

    A trial stays on the kind on which it started, since another kind computes with different arithmetic.
    """
    slices = (wanted.name,) if (wanted := wanted_slice(resources)) else ()
    return (*slices, GPU) if resources.gpus or not slices else slices


def place_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield contradictions in the resources, most of them about TPU slices."""
    given = spec.resources
    if not given.tpu:
        for name in _OF_A_SLICE:
            if name in given.model_fields_set and getattr(given, name) != type(given).model_fields[name].default:
                message = f"resources.{name} is of a TPU slice, and there is no resources.tpu"
                yield KeyProblem(message, "e.g. resources: {tpu: v5e-16, topology: 4x4}", ("resources", name))
        if given.workers > 1 and 0 < given.gpu_count < 1:
            message = "resources.gpus: each of several processes needs a GPU of its own, as NCCL wants it"
            yield Problem(message, "gpus: 1, or workers: 1", ("resources", "gpus"))
        return
    if given.gpus == "auto":
        message = "resources.gpus: auto is measured where all trials run on GPUs, and resources.tpu is given"
        yield Problem(message, "e.g. gpus: 1", ("resources", "gpus"))
    try:
        found = slice_of(given.tpu, given.topology)
    except ValueError as error:
        usual = slice_of(given.tpu).topology
        yield Problem(f"resources.topology: {error}", f"e.g. topology: {usual}", ("resources", "topology"))
        return
    yield from _runtime_problems(given, found)
    if given.workers > 1:
        message = "resources.workers: the processes of a trial on a TPU slice follow from the slice"
        yield Problem(message, "leave it out, or give no resources.tpu", ("resources", "workers"))
    yield from _trainer_problems(spec)
    if spec.budget.gpu_hours is not None:
        message = "budget.gpu_hours does not count TPU slices"
        yield KeyProblem(message, "use epochs, wall_clock or cost", ("budget", "gpu_hours"))


def _runtime_problems(given: Resources, found: Slice) -> Iterator[Problem]:
    path = ("resources", "runtime")
    if given.runtime == "xla-mp" and found.generation.devices > 1:
        message = f"resources.runtime: a chip of {found.name} is two XLA devices, and xla-mp has one a process"
        yield Problem(message, "use runtime: xla-spmd", path)
    if given.runtime == "rehearsal-spmd" and found.hosts * given.slices > 1:
        message = f"resources.runtime: {found.name} has several hosts, and CPUs cannot be joined across hosts by XLA"
        yield Problem(message, "use runtime: rehearsal-gloo, or a slice of one host", path)


def _trainer_problems(spec: SweepSpec) -> Iterator[Problem]:
    for name in OWN:
        for path in (("trainer", name), ("space", f"trainer.{name}")):
            if path[1] in (spec.trainer if path[0] == "trainer" else spec.space):
                message = f"trainer.{name} is the TPU launcher's to set, and resources.tpu is given"
                yield KeyProblem(message, "leave it out; resources says what a trial gets", path)
    precision = spec.trainer.get("precision")
    if precision in _MIXED:
        message = f"trainer.precision: XLA has no {precision}"
        yield Problem(message, "use bf16-true or 32-true", ("trainer", "precision"))
