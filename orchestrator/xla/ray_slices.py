"""The Ray cluster that slices are part of: who is there, and a slice's hosts for as long as the sweep holds them.

The only file of the room that imports Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import compat_ray
from orchestrator.errors import UsageError
from orchestrator.xla.slice_host import SliceHost
from orchestrator.xla.slice_inventory import Node, Place
from orchestrator.xla.slice_processes import HostLostError
from orchestrator.xla.training_process import Message

_POLL_SECONDS = 2.0
_START_SECONDS = 120.0
_CONCURRENT_CALLS = 4  # of an actor: a poll that waits holds up no answer


class Pod:
    """A connection to the cluster."""

    def __init__(self, address: str) -> None:
        os.environ.update({name: value for name, value in compat_ray.SLICE_SWITCHES.items() if name not in os.environ})
        import ray

        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with _our_sigterm():
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"there is no Ray cluster at {address}: {error}",
                hint="run it on the pod's head, or name the cluster: sweep tpu launch SPEC --address HOST:6379",
            ) from error

    def nodes(self) -> list[Node]:
        """The nodes that are alive."""
        import ray

        draining = compat_ray.connected_draining_nodes()
        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [_node(found, draining) for found in known if found["Alive"]]

    def reserve(self, place: Place) -> Reservation:
        """Ask for a place as a whole; another sweep may hold it."""
        return Reservation(place)

    def close(self) -> None:
        """Let go of everything that is held."""
        import ray

        ray.shutdown()


class Reservation:
    """A placement group with a bundle on each node of a place, and an actor in each."""

    def __init__(self, place: Place) -> None:
        from ray.util.placement_group import placement_group

        self._place = place
        self._group = placement_group(
            [dict(place.bundle) for _ in place.nodes],
            strategy="PACK" if len(place.nodes) == 1 else "STRICT_SPREAD",
            bundle_label_selector=[{compat_ray.NODE_ID_LABEL: node.id} for node in place.nodes],
        )
        self._ready = self._group.ready()
        self._hosts: list[RayHost] = []

    def hosts(self) -> Sequence[RayHost] | None:
        """The hosts by rank, as soon as the whole place is ours and they answer; None until then.

        Raises HostLostError where one went meanwhile.
        """
        import ray

        if not ray.wait([self._ready], timeout=0)[0]:
            return None
        if not self._hosts:
            self._hosts = [RayHost(self._group, rank, node, self._place) for rank, node in enumerate(self._place.nodes)]
        return self._hosts if all(host.is_up() for host in self._hosts) else None

    def release(self) -> None:
        """End what runs there and let go of the place."""
        from ray.util.placement_group import remove_placement_group

        for host in self._hosts:
            host.kill()
        with contextlib.suppress(Exception):  # it goes with the driver in any case
            remove_placement_group(self._group)


class RayHost:
    """A host of a slice through the actor that runs on it."""

    def __init__(self, group: Any, bundle: int, node: Node, place: Place) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.address = node.address
        wanted = dict(place.bundle)
        actor: Any = ray.remote(SliceHost)
        self._actor: Any = actor.options(
            num_cpus=wanted.pop("CPU", 0),
            num_gpus=wanted.pop("GPU", 0),
            resources=wanted,  # all chips of the host: for fewer Ray would cut the slice's topology up
            max_restarts=0,
            max_concurrency=_CONCURRENT_CALLS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=bundle
            ),
        ).remote()
        self._about: Any = self._actor.about.remote()
        self._poll: Any = None

    def is_up(self) -> bool:
        """Whether its actor has started. Raises HostLostError."""
        import ray

        if self._about is None:
            return True
        if ray.wait([self._about], timeout=0)[0]:
            self._got(self._about)
            self._about = None
        return self._about is None

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """See `gang.Host`; one that is lost says so when it is polled."""
        self._actor.start.remote([dict(order) for order in orders])

    def poll(self) -> list[Message]:
        """See `gang.Host`."""
        import ray

        if self._poll is None:
            self._poll = self._actor.poll.remote(_POLL_SECONDS)
        if not ray.wait([self._poll], timeout=0)[0]:
            return []
        asked, self._poll = self._poll, None
        found: list[Message] = self._got(asked)
        return found

    def answer(self, go_on: bool) -> None:
        """See `gang.Host`."""
        self._actor.answer.remote(go_on)

    def answers(self, seconds: float) -> bool:
        """See `gang.Host`."""
        try:
            self._got(self._actor.about.remote(), seconds)
        except HostLostError:
            return False
        return True

    def end(self) -> None:
        """See `gang.Host`."""
        self._actor.end.remote()

    def free_port(self) -> int:
        """See `gang.Host`."""
        return int(self._got(self._actor.free_port.remote(), _START_SECONDS))

    def kill(self) -> None:
        """End the actor, and with it the processes that it started."""
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._actor)

    def _got(self, asked: Any, seconds: float | None = None) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(asked, timeout=seconds)
        except RayError as error:  # its actor or its node has died, or it does not answer
            raise HostLostError(str(error).strip().splitlines()[0]) from error


def _node(found: Mapping[str, Any], draining: Mapping[str, int]) -> Node:
    return Node(
        id=found["NodeID"],
        address=found["NodeManagerAddress"],
        name=found["NodeName"] or found["NodeManagerHostname"],
        labels=found.get("Labels") or {},
        resources=found.get("Resources") or {},
        draining=found["NodeID"] in draining,
    )


@contextlib.contextmanager
def _our_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, which ``ray.init`` may replace by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
