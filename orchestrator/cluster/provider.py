"""The base class of providers of machines, and the checks that they share.

A provider is one class in one file of `orchestrator.cluster.providers`, or of a package with an entry point in the
group ``sweep_orchestrator.cluster_providers`` (see `orchestrator.registry`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any, ClassVar, cast

from orchestrator import registry
from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.errors import Problem

_EXAMPLES = [ip_network(f"{net}/24") for net in ("192.0.2.0", "198.51.100.0", "203.0.113.0")]  # RFC 5737
_UNFILLED = re.compile(r"\b(?:ami|sg|subnet|fs)-0{8,17}\b|\bPROJECT\b|\bSUBNETWORK\b|\b10\.0\.0\.0:/")
INIT_HINT = "sweep cluster init {} writes a file that has it"


class Provider(ABC):
    """A provider of machines: ``provider.type`` of a cluster file, as Ray's launcher names it.

    Attributes:
        name: The provider's name in Ray.
        rents: Whether Ray starts and ends its machines, so that the head needs the cloud's client, and each machine may
            be lost. False for hosts of one's own.
        preemption_notices: Whether `orchestrator.cluster.preemption_watcher` can read its notices.
        launcher_environment: Environment variables for Ray's launcher.
    """

    name: ClassVar[str]
    rents: ClassVar[bool] = True
    preemption_notices: ClassVar[bool] = False
    launcher_environment: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    def template(cls) -> str:
        """Return the template of `sweep cluster init`, with the marks @MOUNTS@, @INSTALL@ and @START@."""
        return files("orchestrator.cluster").joinpath("templates", f"{cls.name}.yaml").read_text(encoding="utf-8")

    @classmethod
    def hosts(cls, file: ClusterFile) -> list[tuple[str, str]]:
        """Return role and address of each host that the file lists, the head first; empty if Ray rents machines."""
        return []

    @classmethod
    def initial_nodes(cls, file: ClusterFile) -> int:
        """Return the number of nodes, the head included, that Ray starts before there is any work."""
        return 1 + sum(int(kind.get("min_workers", 0)) for kind in file.worker_types.values())

    @classmethod
    @abstractmethod
    def problems(cls, file: ClusterFile) -> Iterator[Problem]:
        """Yield what Ray would refuse late or without a position, and what would leave a port open."""


def provider_class(name: str) -> type[Provider]:
    """Return the class of a provider. Raises UsageError."""
    return cast(type[Provider], registry.load("cluster_providers", name))


def unfilled(file: ClusterFile) -> Iterator[Problem]:
    """Yield the placeholders of a template that are still in the file."""
    for path, text in file.texts():
        if match := _UNFILLED.search(text):
            yield Problem(f"{match[0]} is a placeholder", "replace it as the comments of the file explain", path)
        elif _is_example(text):
            yield Problem(f"{text} is an example address", "replace it by the addresses of your hosts", path)


def _is_example(text: str) -> bool:
    try:
        return any(ip_address(text) in net for net in _EXAMPLES)
    except ValueError:
        return False


def node_type_problems(file: ClusterFile) -> Iterator[Problem]:
    """Yield wrong counts of machines, which Ray checks only in part and without a position."""
    if not file.node_types:
        yield Problem("`available_node_types` is missing", INIT_HINT.format(file.kind), ("available_node_types",))
        return
    head, most = file.data.get("head_node_type"), file.data.get("max_workers")
    if head not in file.node_types:
        text = f"names {head!r}, which is not one of {', '.join(file.node_types)}" if head else "is missing"
        yield Problem(f"`head_node_type` {text}", "one of available_node_types", ("head_node_type",))
    if most is None:
        yield Problem("`max_workers` is missing, and Ray's default is 2", "e.g. max_workers: 8", ("max_workers",))
        return
    least = sum(kind.get("min_workers", 0) for kind in file.worker_types.values())
    if least > most:
        text = f"`max_workers` is {most}, but the node types require at least {least}"
        yield Problem(text, "increase it", ("max_workers",))
    for name, kind in file.worker_types.items():
        fewest, greatest = kind.get("min_workers", 0), kind.get("max_workers", most)
        path = ("available_node_types", name, "min_workers")
        if fewest < 0 or fewest > greatest:
            yield Problem(f"{name}: `0 <= min_workers <= max_workers` must hold, but got {fewest} and {greatest}",
                          "min_workers: 0 starts machines only on demand", path)  # fmt: skip
    if not any(kind.get("max_workers", most) for kind in file.worker_types.values()) or not most:
        hint = "add a node type with max_workers, in addition to the head's"
        yield Problem("no worker could ever be started", hint, ("max_workers",))


def missing_fields(
    file: ClusterFile, fields: Mapping[str, str], of: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Iterator[Problem]:
    """Yield the node types that lack a field. ``fields``: each field and why it is needed."""
    for name, kind in file.node_types.items():
        for field, why in fields.items():
            if not of(kind).get(field):
                yield Problem(f"{name}: `{field}` is missing: {why}", INIT_HINT.format(file.kind),
                              ("available_node_types", name, "node_config"))  # fmt: skip


def missing_keys(file: ClusterFile, *keys: str) -> Iterator[Problem]:
    """Yield the keys that the section ``provider`` lacks."""
    for key in keys:
        if not file.provider.get(key):
            yield Problem(f"`{key}` is missing in provider", INIT_HINT.format(file.kind), ("provider",))


def client_problems(file: ClusterFile, extra: str, package: str) -> Iterator[Problem]:
    """Yield why the cloud's client would be missing in the environment of the head's Ray, whose autoscaler needs it."""
    if "head_setup_commands" not in file.data:
        text = f"`head_setup_commands` is missing, and Ray's default installs {package} for the system's Python"
        yield Problem(text, "head_setup_commands: []", ("head_setup_commands",))
    installs = re.compile(
        rf"{package}|\[[^\]]*\b{extra}\b[^\]]*\]|make install(?!.*\bEXTRAS=)|\bEXTRAS=\S*\b(?:{extra}|dev)\b"
    )
    if not any(installs.search(command) for _, command in file.setup("head")):
        hint = f"make install EXTRAS={extra}, or pip install 'sweep-orchestrator[{extra}]==…'"
        yield Problem(f"nothing installs {package} on the head, whose autoscaler starts the workers", hint,
                      ("setup_commands",))  # fmt: skip
