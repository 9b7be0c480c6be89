"""A cluster file of Ray's launcher (``ray up``), as an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.cluster.ray_start_parser import Start, normalize_home, ray_starts
from orchestrator.errors import Problem
from orchestrator.space import Value

DISTRIBUTION = "sweep-orchestrator"
ROLES = ("head", "worker")
TOKEN_PATH = "~/.ray/auth_token"
"""Ray's default file of a token."""


def installed() -> str:
    """Return the version of this project on this machine."""
    return version(DISTRIBUTION)


@dataclass(frozen=True)
class ClusterFile:
    """The content of a cluster file.

    Attributes:
        path: The file.
        data: Its content.
        open_items: What must be done before `sweep cluster up`, such as filling in a placeholder of the template.
    """

    path: Path
    data: Mapping[str, Any]
    open_items: tuple[Problem, ...] = field(default=(), compare=False)

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
        """Return the top-level mapping ``key``; empty if there is none."""
        section = self.data.get(key)
        return section if isinstance(section, Mapping) else {}

    def commands(self, key: str) -> Sequence[str]:
        """Return the top-level list of commands ``key``; empty if there is none."""
        return list(self.data.get(key) or ())

    def setup(self, role: str) -> list[tuple[tuple[str | int, ...], str]]:
        """Return the commands that prepare a node of a role, in order, each with its path in the file."""
        keys = ("initialization_commands", "setup_commands", f"{role}_setup_commands")
        return [((key, index), command) for key in keys for index, command in enumerate(self.commands(key))]

    @cached_property
    def starts(self) -> dict[str, list[Start]]:
        """Every ``ray start``, by role."""
        return {role: ray_starts(self.commands(f"{role}_start_ray_commands")) for role in ROLES}

    def start(self, role: str) -> Start | None:
        """Return the ``ray start`` of a role; None unless there is exactly one."""
        starts = self.starts[role]
        return starts[0] if len(starts) == 1 else None

    @property
    def mounts(self) -> dict[str, str]:
        """The section ``file_mounts``: paths on nodes (``~/…`` if below home) → paths on this machine."""
        return {normalize_home(str(remote)): str(local) for remote, local in self.section("file_mounts").items()}

    def token_path(self, role: str) -> str:
        """Return the file from which the nodes of a role read their token."""
        start = self.start(role)
        return normalize_home(start.environment.get("RAY_AUTH_TOKEN_PATH", TOKEN_PATH)) if start else TOKEN_PATH

    @property
    def token(self) -> Path | None:
        """The token's file on this machine; None if the file mounts none."""
        path = self.mounts.get(self.token_path("head"))
        return self.local_path(path) if path else None

    @property
    def runs(self) -> str:
        """The head's SWEEP_RUNS, the folder of run directories on the nodes; empty if it is not set."""
        start = self.start("head")
        return start.environment.get("SWEEP_RUNS", "") if start else ""

    def local_path(self, path: str) -> Path:
        """Return a path on this machine; relative ones start from the file's folder."""
        return self.path.parent.joinpath(Path(path).expanduser())

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield every text in the file, with its path."""
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
