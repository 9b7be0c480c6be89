"""Plan the processes of one trial on its slices, and the environment of each. Pure: a function of the hosts.

Sources: ``configure_topology`` in ``torch_xla/_internal/tpu.py`` 2.9 for one process a chip (a test holds this to it),
``ray/util/tpu.py`` 2.60 for several slices, ``torch_tpu`` 0.2.0's ``set_tpu_launch_env`` for TorchTPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec
from orchestrator.spec.tpu_placement import trial_slice
from orchestrator.spec.tpu_slices import Slice
from orchestrator.xla.training_process import PYTHON

RENDEZVOUS_PORT = 29400
"""The default port of a trial's rendezvous, on the first host."""
_LIBTPU_PORT = 8476
_SLICEBUILDER_PORT = 8070
_MEGASCALE_PORT = 8081
# Set or removed for each process; the platform's other variables (TPU_WORKER_ID, TPU_TOPOLOGY …) stay unchanged.
_CONTROLLED = ("TPU_VISIBLE_CHIPS", "CPU_NUM_DEVICES")


@dataclass(frozen=True)
class Process:
    """One training process.

    Attributes:
        host: number of its host among those of all slices of the trial.
        address: of the host.
        rank: number of the process in the trial.
        local_rank: number of the process on its host.
        world: number of processes in the trial.
        runtime: as in ``resources.runtime``.
        device_type: of its XLA devices.
        devices: number of XLA devices that it must find in all.
        own: number of XLA devices of its host or chip.
        env: environment variables to set.
        unset: environment variables to remove.
    """

    host: int
    address: str
    rank: int
    local_rank: int
    world: int
    runtime: str
    device_type: str
    devices: int
    own: int
    env: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()


def plan_env(
    tpu_slice: Slice, hosts: Sequence[str], runtime: str, *, slices: int = 1, port: int = RENDEZVOUS_PORT
) -> list[Process]:
    """Return the processes of a trial, by rank.

    Args:
        tpu_slice: the kind of each slice.
        hosts: addresses of the hosts, slice after slice, each slice's in the order of its TPU_WORKER_ID.
        runtime: as in ``resources.runtime``.
        slices: the number of slices.
        port: of the rendezvous, on the first host.

    Raises:
        ValueError: there are more or fewer hosts than the slices have.
    """
    if len(hosts) != tpu_slice.hosts * slices:
        raise ValueError(f"{slices} x {tpu_slice.name} has {tpu_slice.hosts * slices} hosts, but got {len(hosts)}")
    each = tpu_slice.chips_a_host if runtime in ("xla-mp", "torch_tpu") else 1
    world = len(hosts) * each
    return [
        _process(tpu_slice, hosts, runtime, slices, port, host=host, local_rank=local_rank, each=each, world=world)
        for host in range(len(hosts))
        for local_rank in range(each)
    ]


def _process(
    tpu_slice: Slice,
    hosts: Sequence[str],
    runtime: str,
    slices: int,
    port: int,
    *,
    host: int,
    local_rank: int,
    each: int,
    world: int,
) -> Process:
    number, worker = divmod(host, tpu_slice.hosts)
    rank = host * each + local_rank
    slice_hosts = hosts[number * tpu_slice.hosts : (number + 1) * tpu_slice.hosts]
    env = {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "NODE_RANK": str(host),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(each),
        "MASTER_ADDR": hosts[0],
        "MASTER_PORT": str(port),
    }
    if runtime == "torch_tpu":
        env |= _torch_tpu(tpu_slice, hosts, each)
    elif runtime == "xla-mp":
        env |= _one_chip(tpu_slice, slice_hosts, worker, local_rank)
    elif runtime == "xla-spmd":
        env |= {"PJRT_DEVICE": "TPU"}
    else:
        env |= {"PJRT_DEVICE": "CPU"}
    if runtime == "rehearsal-spmd":
        env |= {"CPU_NUM_DEVICES": str(tpu_slice.devices)}
    if slices > 1 and not runtime.startswith("rehearsal"):
        env |= {
            "MEGASCALE_COORDINATOR_ADDRESS": hosts[0],
            "MEGASCALE_PORT": str(_MEGASCALE_PORT),
            "MEGASCALE_NUM_SLICES": str(slices),
            "MEGASCALE_SLICE_ID": str(number),
        }
    devices, own = _devices(tpu_slice, runtime, slices, world)
    return Process(
        host=host,
        address=hosts[host],
        rank=rank,
        local_rank=local_rank,
        world=world,
        runtime=runtime,
        device_type="CPU" if runtime.startswith("rehearsal") else "TPU",
        devices=devices,
        own=own,
        env=env,
        unset=tuple(name for name in _CONTROLLED if name not in env),
    )


def _devices(tpu_slice: Slice, runtime: str, slices: int, world: int) -> tuple[int, int]:
    """Return the number of XLA devices in all, and of one process."""
    if runtime == "rehearsal-gloo":  # each process has a PJRT client of its own, which knows no other process
        return 1, 1
    total = tpu_slice.devices * slices
    return total, total // world


def _one_chip(tpu_slice: Slice, slice_hosts: Sequence[str], worker: int, local_rank: int) -> dict[str, str]:
    """Return the variables of one process a chip: libtpu builds each slice from its processes' addresses."""
    each = prod(tpu_slice.chip_bounds)
    bounds = [hosts * chips for hosts, chips in zip(tpu_slice.host_bounds, tpu_slice.chip_bounds, strict=True)]
    names = list(slice_hosts) if len(slice_hosts) > 1 else ["localhost"]
    ports = range(_LIBTPU_PORT, _LIBTPU_PORT + each)
    return {
        "PJRT_DEVICE": "TPU",
        "PJRT_LOCAL_PROCESS_RANK": str(local_rank),
        "PJRT_LOCAL_PROCESS_COUNT": str(each),
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": ",".join(map(str, bounds)),
        "CLOUD_TPU_TASK_ID": str(worker * each + local_rank),
        "TPU_PROCESS_ADDRESSES": ",".join(f"{name}:{port}" for name in names for port in ports),
        "TPU_PROCESS_PORT": str(ports[local_rank]),
        "TPU_VISIBLE_CHIPS": str(local_rank),
    }


def _torch_tpu(tpu_slice: Slice, hosts: Sequence[str], each: int) -> dict[str, str]:
    ports = range(_SLICEBUILDER_PORT, _SLICEBUILDER_PORT + each)
    return {
        "TORCH_TPU_SLICEBUILDER_ADDRESSES": ",".join(f"{host}:{port}" for host in hosts for port in ports),
        "TORCH_TPU_TOPOLOGY": tpu_slice.topology,
        "NNODES": str(len(hosts)),
    }


COMMAND = f"${PYTHON} -m orchestrator.xla.slice_trial"
"""The command of a training process, for a shell."""


def required_slice(spec: SweepSpec) -> Slice:
    """Return the slice of the spec's trials. Raises UsageError if they have none."""
    tpu_slice = trial_slice(spec.resources)
    if tpu_slice is None:
        raise UsageError("the sweep's trials get no TPU slice", hint="--set resources.tpu=v5e-16")
    return tpu_slice


def plan_processes(spec: SweepSpec, hosts: Sequence[str] = ()) -> list[Process]:
    """Return the processes of a trial on ``hosts``, by default ``host-0`` and so on.

    Raises:
        UsageError: the trials have no slice, or it has another number of hosts.
    """
    tpu_slice, count = required_slice(spec), spec.resources.slices
    names = list(hosts) or [f"host-{number}" for number in range(tpu_slice.hosts * count)]
    try:
        return plan_env(tpu_slice, names, spec.resources.runtime, slices=count)
    except ValueError as error:
        raise UsageError(str(error), hint="name each host once, in the order of TPU_WORKER_ID") from error


def plan_record(spec: SweepSpec, planned: Sequence[Process]) -> dict[str, Any]:
    """Return the plan as JSON values."""
    tpu_slice = required_slice(spec)
    return {
        "tpu": tpu_slice.name,
        "accelerator_type": tpu_slice.accelerator_type,
        "topology": tpu_slice.topology,
        "slices": spec.resources.slices,
        "hosts": tpu_slice.hosts * spec.resources.slices,
        "chips_a_host": tpu_slice.chips_a_host,
        "runtime": spec.resources.runtime,
        "command": COMMAND,
        "processes": [asdict(process) for process in planned],
    }


def plan_lines(spec: SweepSpec, planned: Sequence[Process]) -> Iterator[str]:
    """Yield the lines of the plan as text."""
    tpu_slice, count = required_slice(spec), spec.resources.slices
    several = f"{count} slices of " if count > 1 else ""
    hosts, chips = tpu_slice.hosts * count, tpu_slice.chips_a_host
    yield (
        f"{several}{tpu_slice.name} ({tpu_slice.accelerator_type}, {tpu_slice.topology}): "
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
