"""The processes of one trial on its slices, and the environment of each. Pure: the same for the same hosts.

Sources: ``configure_topology`` in ``torch_xla/_internal/tpu.py`` 2.9 for one process a chip (a test holds this to it),
``ray/util/tpu.py`` 2.60 for several slices, ``torch_tpu`` 0.2.0's ``set_tpu_launch_env`` for TorchTPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from orchestrator.spec.tpu_slices import Slice

RENDEZVOUS_PORT = 29400
"""Where the processes of a trial meet, on the first host, unless another port is free there."""
_LIBTPU_PORT = 8476
_SLICEBUILDER_PORT = 8070
_MEGASCALE_PORT = 8081
# Chosen here for the process; what else the platform says of the slice (TPU_WORKER_ID, TPU_TOPOLOGY …) stays as it is.
_CHOSEN = ("TPU_VISIBLE_CHIPS", "CPU_NUM_DEVICES")


@dataclass(frozen=True)
class Process:
    """One training process.

    ``host`` counts the hosts of all slices of the trial, ``rank`` the processes; ``devices`` are the XLA devices that
    it must find in all, and ``own`` those of its host or chip. ``env`` is set for it, and ``unset`` taken away.
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
    wanted: Slice, hosts: Sequence[str], runtime: str, *, slices: int = 1, port: int = RENDEZVOUS_PORT
) -> list[Process]:
    """The processes of a trial, by rank.

    Args:
        wanted: what each slice is.
        hosts: addresses of the hosts, slice after slice, each slice's in the order of its TPU_WORKER_ID.
        runtime: as in ``resources.runtime``.
        slices: how many there are of them.
        port: where the processes meet, on the first host.

    Raises ValueError where there are more or fewer hosts than the slices have.
    """
    if len(hosts) != wanted.hosts * slices:
        raise ValueError(f"{slices} x {wanted.name} has {wanted.hosts * slices} hosts, but got {len(hosts)}")
    each = wanted.chips_a_host if runtime in ("xla-mp", "torch_tpu") else 1
    world = len(hosts) * each
    return [
        _process(wanted, hosts, runtime, slices, port, host=host, local_rank=local_rank, each=each, world=world)
        for host in range(len(hosts))
        for local_rank in range(each)
    ]


def _process(
    wanted: Slice,
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
    number, worker = divmod(host, wanted.hosts)
    rank = host * each + local_rank
    beside = hosts[number * wanted.hosts : (number + 1) * wanted.hosts]
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
        env |= _torch_tpu(wanted, hosts, each)
    elif runtime == "xla-mp":
        env |= _one_chip(wanted, beside, worker, local_rank)
    elif runtime == "xla-spmd":
        env |= {"PJRT_DEVICE": "TPU"}
    else:
        env |= {"PJRT_DEVICE": "CPU"}
    if runtime == "rehearsal-spmd":
        env |= {"CPU_NUM_DEVICES": str(wanted.devices)}
    if slices > 1 and not runtime.startswith("rehearsal"):
        env |= {
            "MEGASCALE_COORDINATOR_ADDRESS": hosts[0],
            "MEGASCALE_PORT": str(_MEGASCALE_PORT),
            "MEGASCALE_NUM_SLICES": str(slices),
            "MEGASCALE_SLICE_ID": str(number),
        }
    devices, own = _devices(wanted, runtime, slices, world)
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
        unset=tuple(name for name in _CHOSEN if name not in env),
    )


def _devices(wanted: Slice, runtime: str, slices: int, world: int) -> tuple[int, int]:
    """XLA devices in all, and of one process."""
    if runtime == "rehearsal-gloo":  # each process has a client of its own, which knows of no other
        return 1, 1
    whole = wanted.devices * slices
    return whole, whole // world


def _one_chip(wanted: Slice, beside: Sequence[str], worker: int, local_rank: int) -> dict[str, str]:
    """For one process a chip, each slice by itself: libtpu builds it from its processes' addresses."""
    each = prod(wanted.chip_bounds)
    bounds = [hosts * chips for hosts, chips in zip(wanted.host_bounds, wanted.chip_bounds, strict=True)]
    names = list(beside) if len(beside) > 1 else ["localhost"]
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


def _torch_tpu(wanted: Slice, hosts: Sequence[str], each: int) -> dict[str, str]:
    ports = range(_SLICEBUILDER_PORT, _SLICEBUILDER_PORT + each)
    return {
        "TORCH_TPU_SLICEBUILDER_ADDRESSES": ",".join(f"{host}:{port}" for host in hosts for port in ports),
        "TORCH_TPU_TOPOLOGY": wanted.topology,
        "NNODES": str(len(hosts)),
    }
