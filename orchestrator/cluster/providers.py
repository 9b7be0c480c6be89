"""What a cluster file must hold for each provider of machines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.errors import Problem
from orchestrator.space import KeyProblem

_EXAMPLES = [ip_network(f"{net}/24") for net in ("192.0.2.0", "198.51.100.0", "203.0.113.0")]  # RFC 5737
_UNFILLED = re.compile(r"\b(?:ami|sg|subnet|fs)-0{8,17}\b|\bPROJECT\b|\bSUBNETWORK\b|\b10\.0\.0\.0:/")
_GROUP_OF_RAYS = "Ray makes a security group that lets ssh in from every address"
_DEFAULT_NET = "the network called default lets ssh in from every address"
_NOWHERE = "sweep cluster init {} writes a file that has it"


def unfilled(file: ClusterFile) -> Iterator[Problem]:
    """What a template left open, and nobody has filled in."""
    for path, text in file.texts():
        if match := _UNFILLED.search(text):
            yield Problem(f"{match[0]} stands for something of yours", "the comments of the file say what", path)
        elif _is_example(text):
            yield Problem(f"{text} is an address of no machine", "put in the addresses of your hosts", path)


def _is_example(text: str) -> bool:
    try:
        return any(ip_address(text) in net for net in _EXAMPLES)
    except ValueError:
        return False


def _node_types(file: ClusterFile) -> Iterator[Problem]:
    """Counts of machines, which Ray checks only in part and without a place."""
    if not file.node_types:
        yield Problem("`available_node_types` is missing", _NOWHERE.format(file.kind), ("available_node_types",))
        return
    head, most = file.data.get("head_node_type"), file.data.get("max_workers")
    if head not in file.node_types:
        said = f"names {head!r}, which is not one of {', '.join(file.node_types)}" if head else "is missing"
        yield Problem(f"`head_node_type` {said}", "one of available_node_types", ("head_node_type",))
    if most is None:
        yield Problem("`max_workers` is missing, and Ray's default is 2", "e.g. max_workers: 8", ("max_workers",))
        return
    least = sum(kind.get("min_workers", 0) for kind in file.worker_types.values())
    if least > most:
        said = f"`max_workers` is {most}, but the node types ask for {least} at least"
        yield Problem(said, "raise it", ("max_workers",))
    for name, kind in file.worker_types.items():
        fewest, greatest = kind.get("min_workers", 0), kind.get("max_workers", most)
        path = ("available_node_types", name, "min_workers")
        if fewest < 0 or fewest > greatest:
            yield Problem(f"{name}: `0 <= min_workers <= max_workers` must hold, but got {fewest} and {greatest}",
                          "min_workers: 0 starts machines on demand alone", path)  # fmt: skip
    if not any(kind.get("max_workers", most) for kind in file.worker_types.values()) or not most:
        hint = "a node type beside the head's, with max_workers"
        yield Problem("no worker could ever be started", hint, ("max_workers",))


def _fields(
    file: ClusterFile, wanted: Mapping[str, str], of: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Iterator[Problem]:
    for name, kind in file.node_types.items():
        for field, why in wanted.items():
            if not of(kind).get(field):
                yield Problem(f"{name}: `{field}` is missing: {why}", _NOWHERE.format(file.kind),
                              ("available_node_types", name, "node_config"))  # fmt: skip


def _required(file: ClusterFile, *keys: str) -> Iterator[Problem]:
    for key in keys:
        if not file.provider.get(key):
            yield Problem(f"`{key}` is missing in provider", _NOWHERE.format(file.kind), ("provider",))


def _client(file: ClusterFile, extra: str, package: str) -> Iterator[Problem]:
    """The head's autoscaler runs in the environment of its Ray, and starts no worker without the cloud's client."""
    if "head_setup_commands" not in file.data:
        said = f"`head_setup_commands` is missing, and Ray's own puts {package} beside the system's Python"
        yield Problem(said, "head_setup_commands: []", ("head_setup_commands",))
    brings = re.compile(
        rf"{package}|\[[^\]]*\b{extra}\b[^\]]*\]|make install(?!.*\bEXTRAS=)|\bEXTRAS=\S*\b(?:{extra}|dev)\b"
    )
    if not any(brings.search(command) for _, command in file.setup("head")):
        hint = f"make install EXTRAS={extra}, or pip install 'sweep-orchestrator[{extra}]==…'"
        yield Problem(f"nothing installs {package} on the head, whose autoscaler starts the workers", hint,
                      ("setup_commands",))  # fmt: skip


def aws(file: ClusterFile) -> Iterator[Problem]:
    """EC2. Ray's own security group opens port 22 to every address, whatever provider.security_group says."""
    yield from _required(file, "region")
    yield from _node_types(file)
    yield from _client(file, "aws", "boto3")
    wanted = {
        "InstanceType": "Ray's default has no GPU",
        "ImageId": "Ray's default is Ubuntu 18.04, whose C library is too old for PyTorch",
    }
    yield from _fields(file, wanted, lambda kind: kind["node_config"])
    if "security_group" in file.provider:
        yield KeyProblem(_GROUP_OF_RAYS,
                         "make one yourself, and name it as SecurityGroupIds in each node_config",
                         ("provider", "security_group"))  # fmt: skip
    for name, kind in file.node_types.items():
        config = kind["node_config"]
        path = ("available_node_types", name, "node_config")
        if not config.get("SecurityGroupIds") and not config.get("NetworkInterfaces"):
            yield Problem(f"{name}: without `SecurityGroupIds` {_GROUP_OF_RAYS}",
                          "SecurityGroupIds: [sg-…], open to your address and to itself", path)  # fmt: skip
        if file.section("auth").get("ssh_private_key") and not config.get("KeyName"):
            yield Problem(f"{name}: `KeyName` is missing, which auth.ssh_private_key needs", "KeyName: my-key", path)


def gcp(file: ClusterFile) -> Iterator[Problem]:
    """Compute Engine. The network called default lets ssh in from every address."""
    yield from _required(file, "region", "availability_zone", "project_id")
    yield from _node_types(file)
    yield from _client(file, "gcp", "google-api-python-client")
    yield from _fields(file, {"machineType": "Ray's default has no GPU", "disks": "it names the image"},
                       lambda kind: kind["node_config"])  # fmt: skip
    for name, kind in file.node_types.items():
        config = kind["node_config"]
        path = ("available_node_types", name, "node_config")
        nets = config.get("networkInterfaces")
        named = nets if isinstance(nets, list) else []
        if not named or not all(isinstance(net, dict) and net.get("subnetwork") for net in named):
            yield Problem(f"{name}: `subnetwork` is missing, and {_DEFAULT_NET}",
                          "networkInterfaces: [{subnetwork: …}], with a firewall of your own", path)  # fmt: skip
        elif any(str(net["subnetwork"]).endswith("/default") for net in named):
            yield Problem(f"{name}: {_DEFAULT_NET}", "name one of your own", path)
        if not kind["resources"].get("CPU") and name != file.data.get("head_node_type"):
            yield Problem(f"{name}: `CPU` is missing in resources, and Ray does not find it out on GCP",
                          "resources: {CPU: 8, GPU: 1}", ("available_node_types", name, "resources"))  # fmt: skip
        scheduling = config.get("scheduling")
        if config.get("guestAccelerators") and (
            not isinstance(scheduling, dict) or scheduling.get("onHostMaintenance") != "TERMINATE"
        ):
            hint = "scheduling: {onHostMaintenance: TERMINATE}"
            yield Problem(f"{name}: a machine with GPUs cannot be moved", hint, path)


def local(file: ClusterFile) -> Iterator[Problem]:
    """Hosts of one's own, reached by ssh."""
    for key in ("available_node_types", "head_node_type"):
        if key in file.data:
            yield KeyProblem(f"`{key}` is not for hosts of one's own", "leave it out", (key,))
    provider = file.provider
    if provider.get("coordinator_address"):
        yield KeyProblem("`coordinator_address` is not supported", "name head_ip and worker_ips",
                         ("provider", "coordinator_address"))  # fmt: skip
        return
    yield from _required(file, "head_ip", "worker_ips")
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


PROVIDERS: dict[str, Callable[[ClusterFile], Iterator[Problem]]] = {"aws": aws, "gcp": gcp, "local": local}
