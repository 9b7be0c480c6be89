"""The version of this package."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "sweep-orchestrator"


def version() -> str:
    """Return the installed version, such as ``"0.1.0"``.

    In a clone that is not installed, return the version of its ``pyproject.toml`` with ``+uninstalled``; return
    ``"0+unknown"`` if there is no such file.
    """
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return _version_of_clone(Path(__file__).resolve().parent.parent / "pyproject.toml")


def _version_of_clone(pyproject: Path) -> str:
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            return f"{project['version']}+uninstalled"
    except (OSError, ValueError, KeyError):
        pass
    return "0+unknown"
