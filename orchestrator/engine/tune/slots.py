"""How many trials run at once: on this machine, or on the hosts of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.engine.tune.node_monitor import Lookout
from orchestrator.engine.tune.ray_lifecycle import RayDied
from orchestrator.errors import UsageError
from orchestrator.spec import Resources

_BEYOND_ANY_CLUSTER = 100_000
REPLACED = "its head was started anew and knows nothing of what ran"


class Slots:
    """Called, it says how many trials may run now; ``most`` is the number that it never exceeds.

    Hosts come to a cluster and leave it. Where the spec says how many trials are to run at once, so many are asked for,
    whether there is room or not: that is what an autoscaler adds hosts for. ``avoided`` are hosts to place nothing on,
    for the driver does not reach them.
    """

    def __init__(self, resources: Resources, *, elsewhere: bool) -> None:
        self._resources, self.elsewhere = resources, elsewhere
        self._lookout = Lookout()
        self.avoided: set[str] = set()
        self.most = resources.concurrent or _BEYOND_ANY_CLUSTER if elsewhere else slot_count(resources, cpu_count())

    def __call__(self) -> int:
        if not self.elsewhere or self._resources.concurrent:
            return self.most
        nodes, shunned = self._lookout().hosts, self.shunned
        found = slots_of((node for node in nodes if node["NodeID"] not in shunned), self._resources)
        if not found and self.avoided:
            self.avoided.clear()
            return self()
        return max(1, found)  # one is asked for where no host is: it waits for the next that comes

    @property
    def leaving(self) -> dict[str, float]:
        """The hosts that were told to go: by their ``NodeID`` the Unix time by which they will be gone, or 0."""
        return self._lookout().leaving if self.elsewhere else {}

    @property
    def shunned(self) -> set[str]:
        """The hosts to place nothing on: those avoided, and those that were told to go."""
        if not self.elsewhere:
            return set()
        self.avoided &= {node["NodeID"] for node in self._lookout().hosts}  # a host that comes back has another number
        return self.avoided | self.leaving.keys()

    def avoid(self, node: str) -> None:
        """Place nothing more on that host, by its ``NodeID``, while there are others."""
        self.avoided.add(node)

    def look_after(self) -> None:
        """Called some ten times a second. Raises RayDied where the cluster's place was taken by another."""
        if self.elsewhere and self._lookout().replaced:
            raise RayDied(REPLACED)

    def rest(self) -> None:
        """Ray is about to be left."""
        self._lookout.rest()


def alive() -> list[dict[str, Any]]:
    """The cluster's hosts as Ray tells of them: ``NodeID``, ``NodeManagerHostname``, ``Resources``."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def slots_of(nodes: Iterable[Mapping[str, Any]], resources: Resources) -> int:
    """How many trials fit on these hosts at once; the workers of a trial may be on several."""
    return sum(_fits(resources, node["Resources"]) for node in nodes) // resources.workers


def slot_count(resources: Resources, available: int) -> int:
    """How many trials fit on this machine at once. Raises UsageError where not even one does."""
    gpus = gpu_count() if resources.gpus else 0
    workers = resources.workers
    for name, wanted, there in (("cpus", resources.cpus, available), ("gpus", resources.gpu_count, gpus)):
        if wanted * workers > there:
            of = f" for {workers} workers" if workers > 1 else ""
            raise UsageError(
                f"a trial wants {wanted * workers:g} {name}{of}, and this machine has {there}",
                hint=f"--set resources.{name}={there // workers if workers > 1 else there}",
            )
    slots = max(1, _fits(resources, {"CPU": available, "GPU": gpus}) // workers)
    return min(slots, resources.concurrent or slots)


def _fits(resources: Resources, there: Mapping[str, float]) -> int:
    """How many workers have room there."""
    wanted = {"CPU": resources.cpus, "GPU": resources.gpu_count}
    if not any(wanted.values()):
        return int(there.get("CPU", 0))
    return int(min(there.get(name, 0) / amount for name, amount in wanted.items() if amount) + 1e-9)


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
    """The GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()
