"""Amazon EC2."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.provider import Provider, client_problems, missing_fields, missing_keys, node_type_problems
from orchestrator.errors import Problem
from orchestrator.space import KeyProblem

_RAY_GROUP = "Ray makes a security group that admits ssh from every address"


class AWS(Provider):
    """Amazon EC2. Ray's own security group opens port 22 to every address, even with provider.security_group."""

    name = "aws"
    preemption_notices = True

    @classmethod
    def problems(cls, file: ClusterFile) -> Iterator[Problem]:
        """Yield the problems of a cluster file."""
        yield from missing_keys(file, "region")
        yield from node_type_problems(file)
        yield from client_problems(file, "aws", "boto3")
        required = {
            "InstanceType": "Ray's default has no GPU",
            "ImageId": "Ray's default is Ubuntu 18.04, whose C library is too old for PyTorch",
        }
        yield from missing_fields(file, required, lambda kind: kind["node_config"])
        if "security_group" in file.provider:
            yield KeyProblem(_RAY_GROUP,
                             "create one, and specify it as SecurityGroupIds in each node_config",
                             ("provider", "security_group"))  # fmt: skip
        for name, kind in file.node_types.items():
            config = kind["node_config"]
            path = ("available_node_types", name, "node_config")
            if not config.get("SecurityGroupIds") and not config.get("NetworkInterfaces"):
                yield Problem(f"{name}: without `SecurityGroupIds` {_RAY_GROUP}",
                              "SecurityGroupIds: [sg-…], open to your address and to itself", path)  # fmt: skip
            if file.section("auth").get("ssh_private_key") and not config.get("KeyName"):
                yield Problem(
                    f"{name}: `KeyName` is missing, which auth.ssh_private_key needs", "KeyName: my-key", path
                )
