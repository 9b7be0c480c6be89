"""Probe a Ray cluster before the start: can it run a trial, do its hosts see the runs, what does a trial take there."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator import compat_ray
from orchestrator.engine.tune.node_monitor import Node, connected_nodes
from orchestrator.engine.tune.placement import slots_on
from orchestrator.engine.tune.ray_lifecycle import NotJoined, RayDied, join_cluster
from orchestrator.errors import ClusterLostError, UsageError
from orchestrator.rundir import run_of
from orchestrator.secrets import masked
from orchestrator.spec import Resources

T = TypeVar("T")

_ANSWER_SECONDS = 60.0
_RETRY_SECONDS = 1.0


def check_cluster(
    resources: Resources, address: str, runs: Path | str, until: Callable[[], object] | None = None
) -> None:
    """Check that the cluster can run a trial and that its hosts see the folder of runs.

    Args:
        resources: of a trial.
        address: of the cluster.
        runs: the folder or URL of runs.
        until: if given, wait for the cluster until it passes or ``until()`` is true.

    Raises:
        UsageError: The cluster does not answer, no host can run a trial and ``resources.concurrent`` does not promise
            that hosts will join, or a host does not see the folder of runs.
        ClusterLostError: The cluster answered and then stopped answering.
    """
    if until is None:
        _check_once(resources, address, runs)
        return
    answered, printed = False, ""
    while not until():
        try:
            _check_once(resources, address, runs)
            return
        except UsageError as error:
            silent = isinstance(error.__cause__, NotJoined)
            if silent and answered:
                raise ClusterLostError(f"the cluster was lost: {error.message}", hint=error.hint) from error
            answered = not silent
            if error.message != printed:
                printed = error.message
                waiting = f"waiting for the cluster at {address} (Ctrl-C stops it): {printed}"
                print(masked(waiting), file=sys.stderr, flush=True)
        deadline = time.monotonic() + _RETRY_SECONDS
        while time.monotonic() < deadline and not until():
            time.sleep(0.1)


def run_on_gpus(address: str, resources: Resources, work: Callable[[int], T], until: Callable[[], object]) -> list[T]:
    """Run ``work`` on one GPU of each kind that the cluster has, with a trial's CPUs.

    Without a GPU, if ``resources.concurrent`` promises that hosts will join, it runs on the first that joins.

    Args:
        address: of the cluster.
        resources: of a trial.
        work: receives the number of GPUs of its host.
        until: stops the wait for a GPU.

    Returns:
        The results; none if ``until()`` became true.

    Raises:
        UsageError: The cluster does not answer, or no host has a GPU and a trial's CPUs.
    """
    import ray

    def run() -> T:
        node_id = ray.get_runtime_context().get_node_id()
        return work(int(next(node["Resources"]["GPU"] for node in connected_nodes() if node["NodeID"] == node_id)))

    try:
        with join_cluster(address):
            suitable = [node["Resources"] for node in _nodes_for(resources) if slots_on([node], resources)]
            prefix = compat_ray.ACCELERATOR_RESOURCE
            kinds = sorted({name for amounts in suitable for name in amounts if name.startswith(prefix)})
            task = ray.remote(num_cpus=resources.cpu_count, num_gpus=1)(run)
            requests: list[dict[str, float]] = [{kind: 0.001} for kind in kinds] or [{}]
            results = [task.options(resources=request).remote() for request in requests]
            pending = list(results)
            while pending:
                if until():
                    return []
                _, pending = ray.wait(pending, num_returns=len(pending), timeout=_RETRY_SECONDS)
            return list(ray.get(results))
    except RayDied as error:
        raise _unreachable(error) from error
    except ray.exceptions.RayError as error:
        message = str(error).partition("\n")[0][:1000]
        raise UsageError(f"resources.gpus: auto: {message}", hint="--set resources.gpus=1 measures nothing") from error


def whole_gpus(address: str) -> tuple[int, int]:
    """Return the CPUs and GPUs of a trial that gets a GPU of its own; 1 and 0 on a cluster without GPUs.

    Raises:
        UsageError: The cluster does not answer.
    """
    try:
        with join_cluster(address):
            nodes = [node["Resources"] for node in connected_nodes()]
    except RayDied as error:
        raise _unreachable(error) from error
    shares = [int(node.get("CPU", 1) / node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1]
    return (max(1, min(shares)), 1) if shares else (1, 0)


def _check_once(resources: Resources, address: str, runs: Path | str) -> None:
    try:
        with join_cluster(address):
            blind = _hosts_without(runs, _nodes_for(resources))
    except RayDied as error:
        raise _unreachable(error) from error
    if blind:
        raise UsageError(
            f"{runs} is not the same on {', '.join(blind)}",
            hint="all hosts need one place for the runs: NFS under one path, or object storage that all may read",
        )


def _nodes_for(resources: Resources) -> list[Node]:
    """Return the cluster's nodes. Raises UsageError if none can run a trial and none is promised."""
    nodes = connected_nodes()
    if not resources.concurrent and not slots_on(nodes, resources):
        needed = f"{resources.cpu_count:g} cpus" + (f" and {resources.gpu_count:g} gpus" if resources.gpu_count else "")
        raise UsageError(
            f"a trial needs {needed}, and none of the cluster's {len(nodes)} hosts has that",
            hint="resources.concurrent says how many trials are to run at once on hosts that are yet to join",
        )
    return nodes


def _unreachable(error: RayDied) -> UsageError:
    return UsageError(str(error), hint="check the address with `ray status` on one of the cluster's hosts")


def _hosts_without(runs: Path | str, nodes: list[Node]) -> list[str]:
    """Return the hosts that do not see a file written into the folder of runs from here, or do not answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, max_retries=0)
    def can_see(where: str, name: str) -> bool:
        try:
            return run_of(where).size(name) is not None
        except OSError:
            return False

    folder, mark = run_of(str(runs)), f".seen-{uuid.uuid4().hex}"  # run_of: also for object storage
    folder.write(folder.root / mark, b"")
    try:
        hosts = {
            can_see.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                folder.where, mark
            ): node["NodeManagerHostname"]
            for node in nodes
        }
        answered, silent = ray.wait(list(hosts), num_returns=len(hosts), timeout=_ANSWER_SECONDS)
        return sorted(
            [hosts[result] for result in answered if not ray.get(result)] + [hosts[result] for result in silent]
        )
    finally:
        folder.remove(mark)
