"""What ``sweep tpu plan`` shows: for each host its processes, their environment and the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec
from orchestrator.spec.tpu_placement import wanted_slice
from orchestrator.spec.tpu_slices import Slice
from orchestrator.xla.process_env import Process, plan_env
from orchestrator.xla.training_process import PYTHON

COMMAND = f"${PYTHON} -m orchestrator.xla.slice_trial"


def slice_for(spec: SweepSpec) -> Slice:
    """The slice that the spec's trials get. Raises UsageError where they get none."""
    wanted = wanted_slice(spec.resources)
    if wanted is None:
        raise UsageError("the sweep's trials get no TPU slice", hint="--set resources.tpu=v5e-16")
    return wanted


def processes(spec: SweepSpec, hosts: Sequence[str] = ()) -> list[Process]:
    """The processes of a trial; hosts that are not named are ``host-0`` and so on. Raises UsageError."""
    wanted, count = slice_for(spec), spec.resources.slices
    names = list(hosts) or [f"host-{number}" for number in range(wanted.hosts * count)]
    try:
        return plan_env(wanted, names, spec.resources.runtime, slices=count)
    except ValueError as error:
        raise UsageError(str(error), hint="name each host once, in the order of TPU_WORKER_ID") from error


def as_record(spec: SweepSpec, planned: Sequence[Process]) -> dict[str, Any]:
    """The plan for a program."""
    wanted = slice_for(spec)
    return {
        "tpu": wanted.name,
        "accelerator_type": wanted.accelerator_type,
        "topology": wanted.topology,
        "slices": spec.resources.slices,
        "hosts": wanted.hosts * spec.resources.slices,
        "chips_a_host": wanted.chips_a_host,
        "runtime": spec.resources.runtime,
        "command": COMMAND,
        "processes": [asdict(process) for process in planned],
    }


def lines(spec: SweepSpec, planned: Sequence[Process]) -> Iterator[str]:
    """The plan for people."""
    wanted, count = slice_for(spec), spec.resources.slices
    several = f"{count} slices of " if count > 1 else ""
    hosts, chips = wanted.hosts * count, wanted.chips_a_host
    yield (
        f"{several}{wanted.name} ({wanted.accelerator_type}, {wanted.topology}): "
        f"{hosts} {_plural('host', hosts)} with {chips} {_plural('chip', chips)} each"
    )
    first = planned[0]
    yield (
        f"runtime {first.runtime}: {first.world} {_plural('process', first.world)}, each to find {first.devices} XLA "
        f"{_plural('device', first.devices)} of {first.device_type}, {first.own} of them its own"
    )
    if first.runtime == "torch_tpu":
        yield "TorchTPU: the launch environment only; trials do not run on it yet"
    for process in planned:
        yield ""
        yield f"{process.address}, process {process.rank}:"
        yield from (f"  {name}={value}" for name, value in sorted(process.env.items()))
        yield f"  without {', '.join(process.unset)}"
        yield f"  {COMMAND}"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
