"""A Ray cluster with TPU slices: its nodes, and the reservation of places. The only file here that imports Ray."""

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
from orchestrator.xla.slice_inventory import Node, Place
from orchestrator.xla.slice_processes import HostLostError
from orchestrator.xla.training_process import Message, SliceHost

_POLL_SECONDS = 2.0
_START_SECONDS = 120.0
_CONCURRENT_CALLS = 4  # of an actor, so that a waiting poll does not delay an answer


class SliceCluster:
    """A connection to the cluster."""

    def __init__(self, address: str) -> None:
        os.environ.update({name: value for name, value in compat_ray.SLICE_SWITCHES.items() if name not in os.environ})
        import ray

        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with _keep_sigterm_handler():
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"there is no Ray cluster at {address}: {error}",
                hint="run it on the cluster's head, or name the cluster: sweep tpu launch SPEC --address HOST:6379",
            ) from error

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        import ray

        draining = compat_ray.connected_draining_nodes()
        records: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [_node(record, draining) for record in records if record["Alive"]]

    def reserve(self, place: Place) -> Reservation:
        """Request all of a place; another sweep may hold it."""
        return Reservation(place)

    def close(self) -> None:
        """Release everything and disconnect."""
        import ray

        ray.shutdown()


class Reservation:
    """A placement group with a bundle and an actor on each node of a place."""

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
        """Return the hosts by rank, once all of the place is reserved and the hosts answer; None before that.

        Raises:
            HostLostError: a host was lost meanwhile.
        """
        import ray

        if not ray.wait([self._ready], timeout=0)[0]:
            return None
        if not self._hosts:
            self._hosts = [RayHost(self._group, rank, node, self._place) for rank, node in enumerate(self._place.nodes)]
        return self._hosts if all(host.is_up() for host in self._hosts) else None

    def release(self) -> None:
        """End the hosts' processes and release the place."""
        from ray.util.placement_group import remove_placement_group

        for host in self._hosts:
            host.kill()
        with contextlib.suppress(Exception):  # Ray removes it with the driver in any case
            remove_placement_group(self._group)


class RayHost:
    """A host of a slice, through its actor."""

    def __init__(self, group: Any, bundle: int, node: Node, place: Place) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.address = node.address
        resources = dict(place.bundle)
        actor: Any = ray.remote(SliceHost)
        self._actor: Any = actor.options(
            num_cpus=resources.pop("CPU", 0),
            num_gpus=resources.pop("GPU", 0),
            resources=resources,  # all chips of the host: for fewer, Ray would restrict the slice's topology
            max_restarts=0,
            max_concurrency=_CONCURRENT_CALLS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=bundle
            ),
        ).remote()
        self._info: Any = self._actor.info.remote()
        self._poll: Any = None

    def is_up(self) -> bool:
        """Return whether its actor has started. Raises HostLostError."""
        import ray

        if self._info is None:
            return True
        if ray.wait([self._info], timeout=0)[0]:
            self._result(self._info)
            self._info = None
        return self._info is None

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """See `slice_processes.Host`. A lost host is detected when it is polled."""
        self._actor.start.remote([dict(order) for order in orders])

    def poll(self) -> list[Message]:
        """See `slice_processes.Host`."""
        import ray

        if self._poll is None:
            self._poll = self._actor.poll.remote(_POLL_SECONDS)
        if not ray.wait([self._poll], timeout=0)[0]:
            return []
        poll, self._poll = self._poll, None
        messages: list[Message] = self._result(poll)
        return messages

    def answer(self, is_continued: bool) -> None:
        """See `slice_processes.Host`."""
        self._actor.answer.remote(is_continued)

    def stop(self) -> None:
        """See `slice_processes.Host`."""
        self._actor.stop.remote()

    def is_reachable(self, seconds: float) -> bool:
        """See `slice_processes.Host`."""
        try:
            self._result(self._actor.info.remote(), seconds)
        except HostLostError:
            return False
        return True

    def end(self) -> None:
        """See `slice_processes.Host`."""
        self._actor.end.remote()

    def free_port(self) -> int:
        """See `slice_processes.Host`."""
        return int(self._result(self._actor.free_port.remote(), _START_SECONDS))

    def kill(self) -> None:
        """Kill the actor; its processes end with it."""
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._actor)

    def _result(self, reference: Any, seconds: float | None = None) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(reference, timeout=seconds)
        except RayError as error:  # the actor or its node has died, or does not answer
            raise HostLostError(str(error).strip().splitlines()[0]) from error


def _node(record: Mapping[str, Any], draining: Mapping[str, int]) -> Node:
    return Node(
        id=record["NodeID"],
        address=record["NodeManagerAddress"],
        name=record["NodeName"] or record["NodeManagerHostname"],
        labels=record.get("Labels") or {},
        resources=record.get("Resources") or {},
        draining=record["NodeID"] in draining,
    )


@contextlib.contextmanager
def _keep_sigterm_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM, which ``ray.init`` may replace by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
