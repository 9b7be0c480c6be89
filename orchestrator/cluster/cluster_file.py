"""What a cluster file says, as Ray's launcher reads it (``ray up``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.cluster.ray_start_parser import Start, at_home, starts
from orchestrator.errors import Problem
from orchestrator.space import Value

DISTRIBUTION = "sweep-orchestrator"
ROLES = ("head", "worker")
TOKEN_PATH = "~/.ray/auth_token"
"""Where Ray looks for a token by itself."""


def installed() -> str:
    """This project's version here."""
    return version(DISTRIBUTION)


@dataclass(frozen=True)
class ClusterFile:
    """What a cluster file says. ``notes`` are what `sweep cluster up` refuses and a look at the file need not."""

    path: Path
    data: Mapping[str, Any]
    notes: tuple[Problem, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.data["cluster_name"])

    @property
    def provider(self) -> Mapping[str, Any]:
        """The section ``provider``."""
        return self.section("provider")

    @property
    def kind(self) -> str:
        """``aws``, ``gcp``, ``local``, or another of Ray's."""
        return str(self.provider.get("type"))

    @property
    def node_types(self) -> dict[str, Mapping[str, Any]]:
        """The node types, by name."""
        return dict(self.section("available_node_types"))

    @property
    def worker_types(self) -> dict[str, Mapping[str, Any]]:
        """The node types without the head's."""
        head = self.data.get("head_node_type")
        return {name: kind for name, kind in self.node_types.items() if name != head}

    def section(self, key: str) -> Mapping[str, Any]:
        """A mapping at the top; empty where there is none."""
        found = self.data.get(key)
        return found if isinstance(found, Mapping) else {}

    def commands(self, key: str) -> Sequence[str]:
        """A list of commands at the top; empty where there is none."""
        return list(self.data.get(key) or ())

    def setup(self, role: str) -> list[tuple[tuple[str | int, ...], str]]:
        """The commands that prepare a node of that role, in order, each with its path."""
        keys = ("initialization_commands", "setup_commands", f"{role}_setup_commands")
        return [((key, index), command) for key in keys for index, command in enumerate(self.commands(key))]

    @cached_property
    def starts(self) -> dict[str, list[Start]]:
        """The ``ray start`` of each role."""
        return {role: starts(self.commands(f"{role}_start_ray_commands")) for role in ROLES}

    def start(self, role: str) -> Start | None:
        """The one ``ray start`` of a role."""
        found = self.starts[role]
        return found[0] if len(found) == 1 else None

    @property
    def mounts(self) -> dict[str, str]:
        """Paths on the nodes, ``~/…`` for those at home, and what is copied there from here."""
        return {at_home(str(there)): str(here) for there, here in self.section("file_mounts").items()}

    def token_path(self, role: str) -> str:
        """Where the nodes of a role read their token."""
        start = self.start(role)
        return at_home(start.environment.get("RAY_AUTH_TOKEN_PATH", TOKEN_PATH)) if start else TOKEN_PATH

    @property
    def token(self) -> Path | None:
        """The token's file on this machine."""
        here = self.mounts.get(self.token_path("head"))
        return self.here(here) if here else None

    @property
    def runs(self) -> str:
        """The folder of run directories on the nodes; empty where the head is not told."""
        start = self.start("head")
        return start.environment.get("SWEEP_RUNS", "") if start else ""

    def here(self, path: str) -> Path:
        """A path on this machine, relative to the file."""
        return self.path.parent.joinpath(Path(path).expanduser())

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every text in the file, with its path."""
        return _texts(dict(self.data), ())


def _texts(value: Value, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
