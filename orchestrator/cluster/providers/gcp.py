"""Google Compute Engine."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.provider import Provider, client_problems, missing_fields, missing_keys, node_type_problems
from orchestrator.errors import Problem

_DEFAULT_NET = "the network called default admits ssh from every address"


class GCP(Provider):
    """Google Compute Engine. The network called default admits ssh from every address."""

    name = "gcp"
    preemption_notices = True

    @classmethod
    def problems(cls, file: ClusterFile) -> Iterator[Problem]:
        """Yield the problems of a cluster file."""
        yield from missing_keys(file, "region", "availability_zone", "project_id")
        yield from node_type_problems(file)
        yield from client_problems(file, "gcp", "google-api-python-client")
        yield from missing_fields(file, {"machineType": "Ray's default has no GPU", "disks": "it names the image"},
                           lambda kind: kind["node_config"])  # fmt: skip
        for name, kind in file.node_types.items():
            config = kind["node_config"]
            path = ("available_node_types", name, "node_config")
            nets = config.get("networkInterfaces")
            interfaces = nets if isinstance(nets, list) else []
            if not interfaces or not all(isinstance(net, dict) and net.get("subnetwork") for net in interfaces):
                yield Problem(f"{name}: `subnetwork` is missing, and {_DEFAULT_NET}",
                              "networkInterfaces: [{subnetwork: …}], with a firewall of your own", path)  # fmt: skip
            elif any(str(net["subnetwork"]).endswith("/default") for net in interfaces):
                yield Problem(f"{name}: {_DEFAULT_NET}", "specify a subnetwork of your own", path)
            if not kind["resources"].get("CPU") and name != file.data.get("head_node_type"):
                yield Problem(f"{name}: `CPU` is missing in resources, which Ray does not detect on GCP",
                              "resources: {CPU: 8, GPU: 1}", ("available_node_types", name, "resources"))  # fmt: skip
            scheduling = config.get("scheduling")
            if config.get("guestAccelerators") and (
                not isinstance(scheduling, dict) or scheduling.get("onHostMaintenance") != "TERMINATE"
            ):
                hint = "scheduling: {onHostMaintenance: TERMINATE}"
                yield Problem(f"{name}: a machine with GPUs cannot be moved", hint, path)
