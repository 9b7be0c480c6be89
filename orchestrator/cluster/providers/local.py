"""Hosts of one's own, reached by ssh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import MappingProxyType

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.provider import Provider, missing_keys
from orchestrator.errors import Problem
from orchestrator.space import KeyProblem


class Local(Provider):
    """Hosts of one's own, reached by ssh."""

    name = "local"
    rents = False
    # Autoscaler v2 permanently starts one worker too few on these hosts (Ray 2.60).
    launcher_environment = MappingProxyType({"RAY_UP_enable_autoscaler_v2": "0"})

    @classmethod
    def hosts(cls, file: ClusterFile) -> list[tuple[str, str]]:
        """Return role and address of each host, the head first."""
        workers = [("worker", str(address)) for address in file.provider["worker_ips"]]
        return [("head", str(file.provider["head_ip"])), *workers]

    @classmethod
    def initial_nodes(cls, file: ClusterFile) -> int:
        """Return the number of nodes that Ray starts first: all of them by default."""
        return 1 + int(file.data.get("min_workers", len(file.provider["worker_ips"])))

    @classmethod
    def problems(cls, file: ClusterFile) -> Iterator[Problem]:
        """Yield the problems of a cluster file."""
        for key in ("available_node_types", "head_node_type"):
            if key in file.data:
                yield KeyProblem(f"`{key}` does not apply to hosts of your own", "remove it", (key,))
        provider = file.provider
        if provider.get("coordinator_address"):
            yield KeyProblem("`coordinator_address` is not supported", "specify head_ip and worker_ips",
                             ("provider", "coordinator_address"))  # fmt: skip
            return
        yield from missing_keys(file, "head_ip", "worker_ips")
        if not file.section("auth").get("ssh_user"):
            yield Problem("`ssh_user` is missing in auth", "auth: {ssh_user: ubuntu}", ("auth",))
        workers = provider.get("worker_ips") or []
        for index, address in enumerate(workers):
            if not isinstance(address, str):
                path = ("provider", "worker_ips", index)
                yield Problem(f"an address must be text, but got {address!r}", "e.g. 10.0.0.7", path)
        addresses = [*(str(address) for address in workers), str(provider.get("head_ip"))]
        for address, times in Counter(addresses).items():
            if times > 1:
                yield Problem(f"{address} is listed {times} times", "list each host once; the head is not a worker",
                              ("provider", "worker_ips"))  # fmt: skip
        fewest = file.data.get("min_workers", len(workers))
        greatest = file.data.get("max_workers", len(workers))
        if workers and not 0 <= fewest <= greatest <= len(workers):
            key = "min_workers" if "min_workers" in file.data else "max_workers"
            message = "`0 <= min_workers <= max_workers <= worker_ips` must hold"
            message += f", but got {fewest}, {greatest} and {len(workers)} addresses"
            yield Problem(message, "remove both", (key,))
