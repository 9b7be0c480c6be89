"""What there is to train on: slices that are whole, those that are not and why, and GPUs beside them. Pure.

A slice dies as a whole: one host that is gone, or told to go, takes it off the roster until it is whole again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.spec import Resources
from orchestrator.spec.tpu_placement import GPU, kinds, wanted_slice
from orchestrator.spec.tpu_slices import Slice

# Ray 2.60 labels the hosts of a slice so, from what GKE or the metadata server says.
SLICE_NAME = "ray.io/tpu-slice-name"
WORKER_ID = "ray.io/tpu-worker-id"
TOPOLOGY = "ray.io/tpu-topology"
POD_TYPE = "ray.io/tpu-pod-type"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive. ``draining`` says that it was told to go."""

    id: str
    address: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    draining: bool = False


@dataclass(frozen=True)
class Place:
    """Where one trial fits: ``kind`` of `spec.placing.kinds`, the ``nodes`` by rank, and what is taken of each.

    ``name`` is what the journal calls it, and ``key`` is its own among all places.
    """

    kind: str
    name: str
    key: str
    nodes: tuple[Node, ...]
    bundle: Mapping[str, float]


class Roster:
    """The places for trials that want these resources."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._slice = wanted_slice(resources)
        self._nodes: dict[str, Node] = {}
        self.whole: dict[str, tuple[Node, ...]] = {}
        self.broken: dict[str, str] = {}

    def look(self, nodes: Iterable[Node]) -> None:
        """The cluster as it is now: its nodes that are alive."""
        self._nodes = {node.id: node for node in nodes}
        self.whole, self.broken = {}, {}
        for name, hosts in _slices(self._nodes.values(), self._slice).items():
            assert self._slice is not None
            if fault := _fault(hosts, self._slice):
                self.broken[name] = fault
            else:
                self.whole[name] = tuple(hosts)

    def free(self, held: Collection[str]) -> Iterator[Place]:
        """Places that can be had, beside those ``held``, by their nodes' ids or by their keys."""
        if self._slice is not None:
            whole = [(name, hosts) for name, hosts in sorted(self.whole.items()) if not _ids(hosts) & set(held)]
            each = self._resources.slices
            yield from (self._joined(whole[n : n + each]) for n in range(0, len(whole) - each + 1, each))
        if GPU in kinds(self._resources):
            yield from (place for place in self._gpus() if place.key not in held)

    def gone(self, place: Place) -> str:
        """Why a place cannot be used any more; empty while it can."""
        lost = next((node for node in place.nodes if node.id not in self._nodes), None)
        return f"{lost.name} ({lost.address}) is gone" if lost else ""

    def draining(self, place: Place) -> bool:
        """Whether one of its nodes was told to go."""
        return any(self._nodes[node.id].draining for node in place.nodes if node.id in self._nodes)

    def words(self) -> str:
        """What there is of slices, for people."""
        found = [f"{name} is whole" for name in sorted(self.whole)]
        return "; ".join(found + [f"{name}: {why}" for name, why in sorted(self.broken.items())]) or "there is none"

    def _joined(self, group: Sequence[tuple[str, tuple[Node, ...]]]) -> Place:
        assert self._slice is not None
        name = "+".join(name for name, _ in group)
        bundle = {"CPU": float(self._resources.cpus), "TPU": float(self._slice.chips_a_host)}
        return Place(self._slice.name, name, name, tuple(node for _, hosts in group for node in hosts), bundle)

    def _gpus(self) -> Iterator[Place]:
        """Slots of nodes that are no TPU hosts."""
        each = {"CPU": float(self._resources.cpus), "GPU": float(self._resources.gpu_count)}
        bundle = {name: amount for name, amount in each.items() if amount}
        for node in self._nodes.values():
            if node.draining or POD_TYPE in node.labels or node.resources.get("TPU"):
                continue
            fits = min((node.resources.get(name, 0.0) / amount for name, amount in bundle.items()), default=1.0)
            for slot in range(int(fits + 1e-9)):
                yield Place(GPU, node.name, f"{node.id}/{slot}", (node,), bundle)


def _slices(nodes: Iterable[Node], wanted: Slice | None) -> dict[str, list[Node]]:
    """The hosts of each slice of the wanted kind, in the order of their worker ids."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        if wanted is None or node.labels.get(POD_TYPE) not in wanted.pod_types:
            continue
        if node.labels.get(TOPOLOGY, wanted.topology) != wanted.topology:
            continue
        # Ray names no slice where it has one host.
        name = node.labels.get(SLICE_NAME) or (node.name if wanted.hosts == 1 else "")
        if name:
            found.setdefault(name, []).append(node)
    for hosts in found.values():
        hosts.sort(key=_worker)
    return found


def _worker(node: Node) -> int:
    """The host's place in its slice: which chips are its own. The order in which Ray hands out hosts is another."""
    number = node.labels.get(WORKER_ID, "0")
    return int(number) if number.isdecimal() else -1


def _fault(hosts: Sequence[Node], wanted: Slice) -> str:
    """What keeps a slice from being used; empty where nothing does."""
    if len(hosts) != wanted.hosts:
        return f"{len(hosts)} of {wanted.hosts} hosts are there"
    if [_worker(node) for node in hosts] != list(range(wanted.hosts)):
        return f"its hosts are workers {', '.join(str(_worker(node)) for node in hosts)}"
    few = next((node for node in hosts if node.resources.get("TPU", 0.0) < wanted.chips_a_host), None)
    if few is not None:
        return f"{few.name} has {few.resources.get('TPU', 0.0):g} of {wanted.chips_a_host} chips"
    told = next((node for node in hosts if node.draining), None)
    return f"{told.name} was told to go" if told else ""


def _ids(hosts: Iterable[Node]) -> set[str]:
    return {node.id for node in hosts}
