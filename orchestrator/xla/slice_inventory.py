"""The inventory of a cluster: complete slices, broken ones with the reason, and GPUs. Pure.

A slice fails as a unit: if one of its hosts is lost or is being preempted, it is excluded until it is complete again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.spec import Resources
from orchestrator.spec.tpu_placement import GPU, kinds, trial_slice
from orchestrator.spec.tpu_slices import Slice

# Labels that Ray 2.60 gives the hosts of a slice, from GKE's environment or the metadata server.
SLICE_NAME = "ray.io/tpu-slice-name"
WORKER_ID = "ray.io/tpu-worker-id"
TOPOLOGY = "ray.io/tpu-topology"
POD_TYPE = "ray.io/tpu-pod-type"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive. ``draining``: it is being preempted."""

    id: str
    address: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    draining: bool = False


@dataclass(frozen=True)
class Place:
    """Resources that fit one trial.

    Attributes:
        kind: one of `orchestrator.spec.tpu_placement.kinds`.
        name: its name in the journal.
        key: unique among all places.
        nodes: by rank.
        bundle: resources that it takes on each node.
    """

    kind: str
    name: str
    key: str
    nodes: tuple[Node, ...]
    bundle: Mapping[str, float]


class SliceInventory:
    """The places of a cluster for trials with these resources.

    Attributes:
        complete: hosts of each usable slice, by its name.
        broken: the reason why each other slice is unusable, by its name.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._slice = trial_slice(resources)
        self._nodes: dict[str, Node] = {}
        self.complete: dict[str, tuple[Node, ...]] = {}
        self.broken: dict[str, str] = {}

    def update(self, nodes: Iterable[Node]) -> None:
        """Replace the inventory by that of these nodes, which are alive."""
        self._nodes = {node.id: node for node in nodes}
        self.complete, self.broken = {}, {}
        for name, hosts in _slices(self._nodes.values(), self._slice).items():
            assert self._slice is not None
            if fault := _fault(hosts, self._slice):
                self.broken[name] = fault
            else:
                self.complete[name] = tuple(hosts)

    def free(self, occupied: Collection[str]) -> Iterator[Place]:
        """Yield the free places; ``occupied`` has node ids and keys of places in use."""
        if self._slice is not None:
            slices = [(name, hosts) for name, hosts in sorted(self.complete.items()) if not _ids(hosts) & set(occupied)]
            count = self._resources.slices
            yield from (self._place(slices[n : n + count]) for n in range(0, len(slices) - count + 1, count))
        if GPU in kinds(self._resources):
            yield from (place for place in self._gpus() if place.key not in occupied)

    def loss(self, place: Place) -> str:
        """Return why a place is lost; empty if it is not."""
        lost_node = next((node for node in place.nodes if node.id not in self._nodes), None)
        return f"{lost_node.name} ({lost_node.address}) is lost" if lost_node else ""

    def draining(self, place: Place) -> bool:
        """Return whether one of its nodes is being preempted."""
        return any(self._nodes[node.id].draining for node in place.nodes if node.id in self._nodes)

    def describe(self) -> str:
        """Return a line of text about all slices."""
        complete = [f"{name} is complete" for name in sorted(self.complete)]
        broken = [f"{name}: {reason}" for name, reason in sorted(self.broken.items())]
        return "; ".join(complete + broken) or "there is none"

    def _place(self, group: Sequence[tuple[str, tuple[Node, ...]]]) -> Place:
        assert self._slice is not None
        name = "+".join(name for name, _ in group)
        bundle = {"CPU": float(self._resources.cpu_count), "TPU": float(self._slice.chips_a_host)}
        return Place(self._slice.name, name, name, tuple(node for _, hosts in group for node in hosts), bundle)

    def _gpus(self) -> Iterator[Place]:
        """Yield the places of nodes that are not TPU hosts."""
        amounts = {"CPU": float(self._resources.cpu_count), "GPU": float(self._resources.gpu_count)}
        bundle = {name: amount for name, amount in amounts.items() if amount}
        for node in self._nodes.values():
            if node.draining or POD_TYPE in node.labels or node.resources.get("TPU"):
                continue
            fits = min((node.resources.get(name, 0.0) / amount for name, amount in bundle.items()), default=1.0)
            for slot in range(int(fits + 1e-9)):
                yield Place(GPU, node.name, f"{node.id}/{slot}", (node,), bundle)


def _slices(nodes: Iterable[Node], tpu_slice: Slice | None) -> dict[str, list[Node]]:
    """Return the hosts of each slice of that kind, in the order of their worker ids."""
    slices: dict[str, list[Node]] = {}
    for node in nodes:
        if tpu_slice is None or node.labels.get(POD_TYPE) not in tpu_slice.pod_types:
            continue
        if node.labels.get(TOPOLOGY, tpu_slice.topology) != tpu_slice.topology:
            continue
        # Ray does not name a slice of one host.
        name = node.labels.get(SLICE_NAME) or (node.name if tpu_slice.hosts == 1 else "")
        if name:
            slices.setdefault(name, []).append(node)
    for hosts in slices.values():
        hosts.sort(key=_worker)
    return slices


def _worker(node: Node) -> int:
    """Return the host's worker id, which determines its chips; -1 if it is invalid. Ray's order of hosts differs."""
    number = node.labels.get(WORKER_ID, "0")
    return int(number) if number.isdecimal() else -1


def _fault(hosts: Sequence[Node], tpu_slice: Slice) -> str:
    """Return why a slice is unusable; empty if it is usable."""
    if len(hosts) != tpu_slice.hosts:
        return f"{len(hosts)} of {tpu_slice.hosts} hosts are present"
    if [_worker(node) for node in hosts] != list(range(tpu_slice.hosts)):
        return f"its hosts are workers {', '.join(str(_worker(node)) for node in hosts)}"
    few = next((node for node in hosts if node.resources.get("TPU", 0.0) < tpu_slice.chips_a_host), None)
    if few is not None:
        return f"{few.name} has {few.resources.get('TPU', 0.0):g} of {tpu_slice.chips_a_host} chips"
    draining = next((node for node in hosts if node.draining), None)
    return f"{draining.name} is being preempted" if draining else ""


def _ids(hosts: Iterable[Node]) -> set[str]:
    return {node.id for node in hosts}
