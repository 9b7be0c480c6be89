"""Placement of trials on CPUs and GPUs: what a trial requests of Ray, and how many trials run at once.

``auto`` is turned into a number before the start, by `orchestrator.plan.gpu_sharing` and `core_sharing`. Trials on TPU
slices are placed by `orchestrator.xla.slice_inventory`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from orchestrator import compat_ray
from orchestrator.engine.tune.node_monitor import NodeMonitor
from orchestrator.engine.tune.ray_lifecycle import RayDied
from orchestrator.errors import UsageError
from orchestrator.spec import Resources

_BEYOND_ANY_CLUSTER = 100_000
HEAD_REPLACED = "its head was restarted and does not know the trials that ran"


def trial_request(resources: Resources, excluded: Collection[str] = ()) -> Any:
    """Return what a trial requests of Ray Tune: a bundle for each of its workers, packed on few nodes if possible.

    No bundle is placed on an ``excluded`` node, given by its ``NodeID``.
    """
    if resources.workers == 1 and not excluded:
        return {"cpu": resources.cpu_count, "gpu": resources.gpu_count}
    from ray import tune

    amounts = {"CPU": float(resources.cpu_count), "GPU": float(resources.gpu_count)}
    bundles = [{name: amount for name, amount in amounts.items() if amount} for _ in range(resources.workers)]
    labels: Any = [{compat_ray.NODE_ID_LABEL: f"!in({','.join(sorted(excluded))})"} for _ in bundles]
    return tune.PlacementGroupFactory(bundles, "PACK", **({"bundle_label_selector": labels} if excluded else {}))


class Slots:
    """How many trials run at once, on this machine or on the nodes of a cluster.

    Nodes join a cluster and leave it. If the spec sets ``resources.concurrent``, so many trials are requested whether
    or not there is room: an autoscaler adds nodes for requests.

    Args:
        resources: of a trial.
        on_cluster: whether the trials run on a cluster that was joined.
    """

    def __init__(self, resources: Resources, *, on_cluster: bool) -> None:
        self._resources, self.on_cluster = resources, on_cluster
        self.monitor = NodeMonitor()
        if on_cluster:
            self.maximum = resources.concurrent or _BEYOND_ANY_CLUSTER
        else:
            self.maximum = local_slots(resources, cpu_count())

    def now(self) -> int:
        """Return how many trials may run now, at least 1 and at most ``maximum``."""
        if not self.on_cluster or self._resources.concurrent:
            return self.maximum
        excluded = self.monitor.excluded
        slots = slots_on([node for node in self.monitor.nodes if node["NodeID"] not in excluded], self._resources)
        if not slots and self.monitor.readmit_unreachable():
            return self.now()
        return max(1, slots)  # without any node, one trial is requested and waits for the next that joins

    @property
    def preempted(self) -> dict[str, float]:
        """The nodes that are being preempted: ``NodeID`` → Unix seconds of their end, 0 if unknown."""
        return self.monitor.preempted if self.on_cluster else {}

    @property
    def excluded_nodes(self) -> set[str]:
        """``NodeID`` of the nodes to place nothing on."""
        return self.monitor.excluded if self.on_cluster else set()

    def check(self) -> None:
        """Raise RayDied if another cluster has replaced the one that was joined."""
        if self.on_cluster and self.monitor.replaced:
            raise RayDied(HEAD_REPLACED)


def slots_on(nodes: Iterable[Mapping[str, Any]], resources: Resources) -> int:
    """Return how many trials fit on these nodes at once; the workers of one trial may be on several."""
    return sum(_workers_on(node["Resources"], resources) for node in nodes) // resources.workers


def local_slots(resources: Resources, cpus: int) -> int:
    """Return how many trials fit on this machine at once. Raises UsageError if not even one does."""
    gpus = gpu_count() if resources.gpu_count else 0
    if misfits := list(_misfits(resources, cpus, gpus)):
        raise UsageError(
            f"a trial needs {' and '.join(needed for needed, _ in misfits)}",
            hint=f"fit trials to the machine: --set resources=auto, or {' '.join(hint for _, hint in misfits)}",
        )
    slots = max(1, _workers_on({"CPU": cpus, "GPU": gpus}, resources) // resources.workers)
    return min(slots, resources.concurrent or slots)


def _misfits(resources: Resources, cpus: int, gpus: int) -> Iterator[tuple[str, str]]:
    """Yield each amount that this machine has not, as words, and the option that sets what it has."""
    workers = resources.workers
    for name, needed, available in (("cpus", resources.cpu_count, cpus), ("gpus", resources.gpu_count, gpus)):
        if needed * workers > available:
            of = f" for {workers} workers" if workers > 1 else ""
            fitting = available // workers if workers > 1 else available
            yield (
                f"{needed * workers:g} {name}{of}, and this machine has {available}",
                f"--set resources.{name}={fitting}",
            )


def _workers_on(available: Mapping[str, float], resources: Resources) -> int:
    needed = {"CPU": resources.cpu_count, "GPU": resources.gpu_count}
    if not any(needed.values()):
        return int(available.get("CPU", 0))
    return int(min(available.get(name, 0) / amount for name, amount in needed.items() if amount) + 1e-9)


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_count() -> int:
    """Return the number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()
