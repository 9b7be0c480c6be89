"""Hosts of one's own, reached by ssh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.provider import Provider, missing_keys
from orchestrator.errors import Problem
from orchestrator.space import KeyProblem


class Local(Provider):
    """Hosts of one's own, reached by ssh."""

    name = "local"
    rents = False

    @classmethod
    def problems(cls, file: ClusterFile) -> Iterator[Problem]:
        """Yield the problems of a cluster file."""
        for key in ("available_node_types", "head_node_type"):
            if key in file.data:
                yield KeyProblem(f"`{key}` is not for hosts of one's own", "leave it out", (key,))
        provider = file.provider
        if provider.get("coordinator_address"):
            yield KeyProblem("`coordinator_address` is not supported", "name head_ip and worker_ips",
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
        named = [*(str(address) for address in workers), str(provider.get("head_ip"))]
        for address, times in Counter(named).items():
            if times > 1:
                yield Problem(f"{address} is named {times} times", "each host once: the head is no worker",
                              ("provider", "worker_ips"))  # fmt: skip
        fewest = file.data.get("min_workers", len(workers))
        greatest = file.data.get("max_workers", len(workers))
        if workers and not 0 <= fewest <= greatest <= len(workers):
            key = "min_workers" if "min_workers" in file.data else "max_workers"
            said = "`0 <= min_workers <= max_workers <= worker_ips` must hold"
            said += f", but got {fewest}, {greatest} and {len(workers)} addresses"
            yield Problem(said, "leave both out", (key,))
