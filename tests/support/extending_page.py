"""The package that docs/extending.md walks through, as files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.support.plugins import write_package

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def package_files() -> dict[str, str]:
    """Return each file's text: blocks that name the same file follow one another."""
    files: dict[str, str] = {}
    page = PAGE.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(?:toml|python)\n# (\S+)\n(.*?)^```$", page, re.M | re.S):
        files[block[1]] = files.get(block[1], "") + ("\n\n" if block[1] in files else "") + block[2]
    return files


def install_unbuilt(folder: Path) -> None:
    """Write the package as an installer leaves it, without a build."""
    files = package_files()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {name.removesuffix(".py"): text for name, text in files.items() if name.endswith(".py")}
    write_package(folder, project["name"], modules=modules, entry_points=project["entry-points"])
