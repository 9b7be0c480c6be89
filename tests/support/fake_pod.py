"""Fake TPU slices of a real Ray cluster: raylets on this machine with the labels and resources of TPU hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from orchestrator.journal import Event
from orchestrator.state import SweepState
from orchestrator.xla.slice_inventory import POD_TYPE, SLICE_NAME, TOPOLOGY, WORKER_ID

STORE = 80 * 1024 * 1024


class FakePod:
    """Raylets that pass for the hosts of TPU slices."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        told = {"health_check_period_ms": 1000, "health_check_timeout_ms": 4000}  # else a dead host lives 20 s longer
        head = {"num_cpus": 1, "object_store_memory": STORE, "_system_config": told}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self.hosts: dict[tuple[str, int], Any] = {}
        self._drained: list[tuple[str, int]] = []

    def make_whole(self) -> None:
        """Two slices of two hosts each, added in an order that is not that of their workers."""
        for name, worker in self._drained:
            self.kill(name, worker)
        self._drained.clear()
        for name, worker in (("b", 1), ("a", 1), ("a", 0), ("b", 0)):
            if (name, worker) not in self.hosts:
                self.add(name, worker)

    def add(self, name: str, worker: int) -> None:
        labels = {SLICE_NAME: name, WORKER_ID: str(worker), TOPOLOGY: "2x2x2", POD_TYPE: "v4-16"}
        resources = {"TPU": 4, name: 1, **({"TPU-v4-16-head": 1} if worker == 0 else {})}
        self.hosts[name, worker] = self._cluster.add_node(
            num_cpus=2, resources=resources, labels=labels, node_name=f"{name}-{worker}", object_store_memory=STORE
        )

    def kill(self, name: str, worker: int) -> None:
        """As when the machine goes: nothing is said."""
        self._cluster.remove_node(self.hosts.pop((name, worker)), allow_graceful=False)

    def drain(self, name: str, worker: int) -> None:
        """A notice of preemption on one host, as GKE's termination handler gives it."""
        from ray._private.worker import global_worker
        from ray.core.generated import autoscaler_pb2

        protocol: Any = autoscaler_pb2  # Ray generates these at run time
        worker_of_this_process: Any = global_worker

        self._drained.append((name, worker))
        node = self.hosts[name, worker].node_id
        reason = protocol.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        deadline = int((time.time() + 600) * 1000)  # ms
        accepted, why = worker_of_this_process.gcs_client.drain_node(node, reason, "preempted", deadline)
        assert accepted, why

    def add_gpus(self) -> None:
        """A machine beside the slices, for the rest of the cluster's life."""
        self._cluster.add_node(num_cpus=1, num_gpus=1, node_name="gpus", object_store_memory=STORE)

    def shutdown(self) -> None:
        self._cluster.shutdown()


class Seen:
    """The events of a running sweep, and what the test does when one of them comes."""

    def __init__(self, when: Callable[[Event], bool] | None = None, then: Callable[[], None] | None = None) -> None:
        self.events: list[Event] = []
        self.state = SweepState()
        self._when, self._then = when, then

    def __call__(self, state: SweepState, event: Event) -> None:
        self.state = state
        self.events.append(event)
        if self._when is not None and self._then is not None and self._when(event):
            then, self._then = self._then, None
            then()  # not in a thread of its own, with whose end the raylets that it starts would end

    def of(self, type: str) -> list[Event]:
        return [event for event in self.events if event.type == type]


def at_once(events: list[Event]) -> int:
    """How many segments ran at the same time, at most."""
    running, most = set(), 0
    for event in events:
        if event.type == "segment.started":
            running.add(event["trial"])
        elif event.type in ("trial.finished", "trial.stopped", "segment.failed", "trial.failed", "trial.set_aside"):
            running.discard(event["trial"])
        most = max(most, len(running))
    return most
