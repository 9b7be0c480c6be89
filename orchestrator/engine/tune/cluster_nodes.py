"""A Ray cluster that is there already: what it has, and joining it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.engine.tune.ray_lifecycle import ENVIRONMENT, Instance, RayDied, our_signals
from orchestrator.engine.tune.slots import alive, slots_of
from orchestrator.errors import UsageError
from orchestrator.rundir import run_of
from orchestrator.spec import Resources

T = TypeVar("T")

_ANSWER_SECONDS = 60.0
_KNOCK_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_KIND = "accelerator_type:"  # a resource that Ray gives the hosts of a GPU, by its name


class NotJoined(RayDied):
    """No cluster answers at the address."""


class Waiting:
    """Waits for the cluster at an address, saying for what, for as long as ``until`` says nothing."""

    def __init__(self, address: str, until: Callable[[], object]) -> None:
        self._address, self._until = address, until
        self._told = ""

    def on(self, why: str) -> None:
        """A moment, for it may be better then."""
        if why != self._told:
            print(f"waiting for the cluster at {self._address} (Ctrl-C stops it): {why}", file=sys.stderr, flush=True)
            self._told = why
        end = time.monotonic() + _AGAIN_SECONDS
        while time.monotonic() < end and not self._until():
            time.sleep(0.1)


@contextlib.contextmanager
def joined(address: str) -> Iterator[Instance]:
    """The cluster at that address, as Ray writes one: ``auto``, ``host:port``. Raises NotJoined if it does not answer.

    Its processes are not ours: neither are they watched, nor do they end with the sweep.
    """
    import ray

    _prepare()
    try:
        _knock(address)
        with our_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                namespace=f"sweep-{uuid.uuid4().hex[:12]}",
                runtime_env={"env_vars": _for_workers()},
            )
    except Exception as error:
        ray.shutdown()
        raise NotJoined(f"no cluster at {address}: {type(error).__name__}: {error}") from error
    try:
        yield Instance(None, ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def answers(head: str) -> bool:
    """Whether a cluster's head is there, as far as a connection can tell."""
    try:
        _knock(head)
    except OSError:
        return False
    return True


def _knock(address: str) -> None:
    """Whether anybody is there: Ray itself tries for minutes. Raises OSError."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def survey(address: str, resources: Resources, runs: Path | str) -> None:
    """Join for a moment, and look.

    Raises UsageError where the cluster does not answer, no host can run a trial and no number of trials says that hosts
    are to come, or a host does not see the folder of runs.
    """
    try:
        with joined(address):
            nodes = _with_room(resources)
            without = _hosts_without(runs, nodes)
    except RayDied as error:
        raise _not_there(error) from error
    if without:
        raise UsageError(
            f"{runs} is not the same on {', '.join(without)}",
            hint="all hosts need one place for the runs: NFS under one path, or object storage that all may read",
        )


def on_gpus(address: str, resources: Resources, work: Callable[[int], T], until: Callable[[], object]) -> list[T]:
    """What ``work`` says on a GPU of each kind that the cluster has, with that GPU and a trial's CPUs to itself.

    It is given how many GPUs its host has. Where there is none yet, and a number of trials says that hosts are to come,
    the first that comes will do. Nothing is said where ``until`` says that nobody waits any longer.

    Raises UsageError where the cluster does not answer, or no host has that.
    """
    import ray

    try:
        with joined(address):
            there = [node["Resources"] for node in _with_room(resources) if slots_of([node], resources)]

            def run() -> T:
                node = ray.get_runtime_context().get_node_id()
                return work(int(next(one["Resources"]["GPU"] for one in alive() if one["NodeID"] == node)))

            kinds = sorted({name for one in there for name in one if name.startswith(_KIND)})
            wanted = [{kind: 0.001} for kind in kinds] or [{}]
            asked = ray.remote(num_cpus=resources.cpus, num_gpus=1)(run)
            left = [asked.options(resources=extra).remote() for extra in wanted]
            answers = list(left)
            while left:
                if until():
                    return []
                _, left = ray.wait(left, num_returns=len(left), timeout=_AGAIN_SECONDS)
            return list(ray.get(answers))
    except RayDied as error:
        raise _not_there(error) from error
    except ray.exceptions.RayError as error:
        said = str(error).partition("\n")[0][:1000]
        raise UsageError(f"resources.gpus: auto: {said}", hint="--set resources.gpus=1 measures nothing") from error


def _with_room(resources: Resources) -> list[dict[str, Any]]:
    """The cluster's hosts. Raises UsageError where none can run a trial, and none is to come."""
    nodes = alive()
    if not resources.concurrent and not slots_of(nodes, resources):
        wanted = f"{resources.cpus:g} cpus" + (f" and {resources.gpu_count:g} gpus" if resources.gpus else "")
        raise UsageError(
            f"a trial wants {wanted}, and none of the cluster's {len(nodes)} hosts has that",
            hint="resources.concurrent says how many trials are to run at once on hosts that are yet to come",
        )
    return nodes


def _not_there(error: RayDied) -> UsageError:
    return UsageError(str(error), hint="is it up, and is this its address? `ray status` says so on one of its hosts")


def node_of(actor: Any) -> str:
    """The ``NodeID`` of the host of an actor; empty where the head does not say. Ray has no public way to it."""
    from ray._private import state

    with contextlib.suppress(Exception):
        return str(state.actors(actor._actor_id.hex())["Address"]["NodeID"])
    return ""


def _hosts_without(runs: Path | str, nodes: list[dict[str, Any]]) -> list[str]:
    """The hosts that do not see what is written there from here, or may not look."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, max_retries=0)
    def sees(where: str, name: str) -> bool:
        try:
            return run_of(where).size(name) is not None
        except OSError:
            return False

    place, mark = run_of(str(runs)), f".seen-{uuid.uuid4().hex}"  # files there are told of as those of a run are
    place.write(place.root / mark, b"")
    try:
        asked = {
            sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                place.where, mark
            ): node["NodeManagerHostname"]
            for node in nodes
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
        return sorted([asked[one] for one in answered if not ray.get(one)] + [asked[one] for one in silent])
    finally:
        place.remove(mark)


def _prepare() -> None:
    """Ray's switches on this side. A token that is configured is used."""
    told = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        told["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE", "token")
    os.environ.update(told)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _for_workers() -> dict[str, str]:
    """What a worker reads of them, on hosts whose environment we did not make."""
    names = [name for name in ENVIRONMENT if not name.startswith("RAY_AUTH")]
    return {name: os.environ[name] for name in (*names, "PYTHONPATH") if name in os.environ}
