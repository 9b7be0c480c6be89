"""The base class of manifests: files that make another scheduler run a sweep (`sweep cluster manifest NAME`).

A manifest is one class in one file of `orchestrator.cluster.manifests`, or of a package with an entry point in the
group ``sweep_orchestrator.manifests`` (see `orchestrator.registry`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from orchestrator import registry
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec


class Manifest(ABC):
    """A manifest of one kind.

    Attributes:
        name: What `sweep cluster manifest` calls it.
        summary: One sentence on what it prints.
        Options: A pydantic model or a dataclass. Fields named ``runs``, ``nodes`` and ``trials`` take the command's
            options of these names; ``--option KEY=VALUE`` sets any field.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Options: ClassVar[type[Any]]

    @classmethod
    @abstractmethod
    def render(cls, spec: SweepSpec, options: Any) -> str:
        """Return the text, for an instance of `Options`. Raise UsageError if an option cannot be used."""


def render(name: str, spec: SweepSpec, flags: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """Return the text of a manifest.

    Args:
        name: The manifest's name.
        spec: The sweep.
        flags: Values of the command's own flags; those that the manifest has no field for are left out.
        options: Values as text, each of a field that the manifest must have.

    Raises:
        UsageError: There is no such manifest or field, or a value is not what the field takes.
    """
    manifest = registry.load("manifests", name)
    adapter = TypeAdapter(manifest.Options)
    fields = adapter.json_schema()["properties"]
    unknown = next((key for key in options if key not in fields), None)
    if unknown is not None:
        raise UsageError(f"manifest {name!r} has no option {unknown!r}", hint=f"options: {', '.join(fields)}")
    try:
        values = adapter.validate_python({key: flags[key] for key in flags if key in fields} | dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"option {where!r} of manifest {name!r}: {first['msg']}", hint=f"--option {where}=…") from None
    return str(manifest.render(spec, values))


def label(name: str) -> str:
    """Return a sweep's name as Kubernetes and Slurm allow names: at most 40 of a-z, 0-9 and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", f"sweep-{name}".lower())[:40].strip("-")
