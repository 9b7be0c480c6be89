"""The hosts of a cluster, looked at beside the driver's work: a head that does not answer holds up no report."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

ANOTHER = "WrongClusterID"  # what a head says to those who joined one before it
_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Sight:
    """What the head said last.

    Args:
        hosts: those that are alive: ``NodeID``, ``NodeManagerHostname``, ``Resources``.
        leaving: the ``NodeID`` of those that were told to go, and the Unix time in seconds by which they will be gone;
            0 where nobody said.
        replaced: whether another cluster's head answers there, which knows nothing of what was joined.
    """

    hosts: list[dict[str, Any]] = field(default_factory=list)
    leaving: dict[str, float] = field(default_factory=dict)
    replaced: bool = False


class Lookout:
    """Looks every two seconds, in a thread of its own; called meanwhile, or while the head is silent, it has the last.

    Ray's own ``ray.nodes()`` waits for a head that has gone until it is back, or for a minute, and then ends the
    process.
    """

    def __init__(self) -> None:
        self._sight: Sight | None = None
        self._client: Any = None
        self._looking: threading.Thread | None = None
        self._looked = float("-inf")

    def __call__(self) -> Sight:
        """The last sight; the first is waited for."""
        if self._sight is None:
            self._look()
        elif time.monotonic() - self._looked > _LOOK_SECONDS and not self._busy:
            self._looked = time.monotonic()
            self._looking = threading.Thread(target=self._look, name="lookout", daemon=True)
            self._looking.start()
        return self._sight or Sight()

    def rest(self) -> None:
        """Ray is about to be left: no look may be under way then, and the next one is at another Ray."""
        if self._looking is not None:
            self._looking.join(_ANSWER_SECONDS + 1)
        self._sight = self._client = self._looking = None

    @property
    def _busy(self) -> bool:
        return self._looking is not None and self._looking.is_alive()

    def _look(self) -> None:
        from ray.exceptions import RayError

        try:
            self._client = self._client or _client()
            self._sight = _sight(self._client)
        except (RayError, OSError) as error:  # nobody answers: what was seen last stands
            if ANOTHER in str(error):
                self._sight = replace(self._sight or Sight(), replaced=True)


def _client() -> Any:
    """Ray has no public client whose questions end after a time."""
    import ray
    from ray import _raylet

    return _raylet.GcsClient(  # type: ignore[attr-defined]
        address=ray.get_runtime_context().gcs_address
    )


def _sight(client: Any) -> Sight:
    nodes = client.get_all_node_info(timeout=_ANSWER_SECONDS)
    leaving = client.get_draining_nodes(timeout=_ANSWER_SECONDS)
    return Sight(
        [
            {
                "NodeID": node.node_id.hex(),
                "NodeManagerHostname": node.node_manager_hostname,
                "Resources": dict(node.resources_total),
            }
            for node in nodes.values()
            if node.state == 0  # GcsNodeInfo.ALIVE
        ],
        {node: deadline / 1000 for node, deadline in leaving.items()},
    )
