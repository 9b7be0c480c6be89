"""The nodes of a Ray cluster as the driver knows them: alive, being preempted, excluded.

`NodeMonitor` polls the head in a background thread, so that a head that does not answer delays no report.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator import compat_ray

_POLL_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
Node = dict[str, Any]
"""A node as ``ray.nodes()`` has it: ``NodeID``, ``NodeManagerHostname``, ``Resources``."""


@dataclass(frozen=True)
class Snapshot:
    """What the head said last.

    Args:
        nodes: those that are alive.
        preempted: ``NodeID`` of nodes that are being preempted → Unix seconds of their end, 0 if unknown.
        replaced: whether another cluster's head answers at the address, which does not know this driver.
    """

    nodes: list[Node] = field(default_factory=list)
    preempted: dict[str, float] = field(default_factory=dict)
    replaced: bool = False


class NodeMonitor:
    """Polls every two seconds while it is used. A poll under way, or a silent head, leaves the last snapshot."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._client: Any = None
        self._thread: threading.Thread | None = None
        self._polled = float("-inf")
        self._unreachable: set[str] = set()

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are alive."""
        return self._latest().nodes

    @property
    def preempted(self) -> dict[str, float]:
        """The nodes that are being preempted: ``NodeID`` → Unix seconds of their end, 0 if unknown."""
        return self._latest().preempted

    @property
    def replaced(self) -> bool:
        """Whether another cluster's head answers at the address."""
        return self._latest().replaced

    @property
    def excluded(self) -> set[str]:
        """``NodeID`` of the nodes to place nothing on: unreachable or being preempted."""
        self._unreachable &= {node["NodeID"] for node in self.nodes}  # a node that returns has a new id
        return self._unreachable | self.preempted.keys()

    def exclude(self, node_id: str) -> None:
        """Exclude a node that the driver does not reach."""
        self._unreachable.add(node_id)

    def readmit_unreachable(self) -> bool:
        """Stop excluding unreachable nodes; return whether there were any."""
        had_any = bool(self._unreachable)
        self._unreachable.clear()
        return had_any

    def disconnect(self) -> None:
        """Wait for a poll under way and forget the cluster, before Ray is shut down."""
        if self._thread is not None:
            self._thread.join(_ANSWER_SECONDS + 1)
        self._snapshot = self._client = self._thread = None

    def _latest(self) -> Snapshot:
        """Return the last snapshot and start the next poll if it is due; wait for the first."""
        if self._snapshot is None:
            self._poll()
        elif time.monotonic() - self._polled > _POLL_SECONDS and not (self._thread and self._thread.is_alive()):
            self._polled = time.monotonic()
            self._thread = threading.Thread(target=self._poll, name="node monitor", daemon=True)
            self._thread.start()
        return self._snapshot or Snapshot()

    def _poll(self) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            self._client = self._client or compat_ray.gcs_client(ray.get_runtime_context().gcs_address)
            nodes = compat_ray.alive_nodes(self._client, _ANSWER_SECONDS)
            draining = compat_ray.draining_nodes(self._client, _ANSWER_SECONDS)
            self._snapshot = Snapshot(nodes, {node: deadline / 1000 for node, deadline in draining.items()})
        except (RayError, OSError) as error:  # the head does not answer: the last snapshot stands
            if compat_ray.WRONG_CLUSTER in str(error):
                self._snapshot = replace(self._snapshot or Snapshot(), replaced=True)


def connected_nodes() -> list[Node]:
    """Return the nodes that are alive in the cluster that this process is connected to."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
