"""The environment of a project: its packages beside this project's, which it sees and does not change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.projects.catalogue import Project, Source
from tests.support.paths import ROOT

PROGRAMS = ROOT / "tests/projects/programs"


class NotHadError(Exception):
    """A project cannot be installed or cloned here; the text is the reason."""


def prepared(project: Project, home: Path) -> tuple[Path, Path]:
    """Return the project's Python and its working folder, made or made new.

    Args:
        project: which one.
        home: where environments and folders are kept; an environment that is there is used again.

    Raises:
        NotHadError: A package cannot be installed, or a repository cannot be cloned.
    """
    python = environment(project, home / "environments" / project.name)
    folder = home / "work" / project.name
    source = folder / "source"
    kept = home / "sources" / project.name
    if project.source and not kept.is_dir():
        clone(project.source, kept)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROGRAMS / project.name, folder)
    for name, place in project.files:
        shutil.copy(ROOT / "tests" / place, folder / name)
    if project.source:
        shutil.copytree(kept, source, ignore=shutil.ignore_patterns(".git"))
    if (folder / project.prepare[0]).is_file():
        subprocess.run([python, *project.prepare], cwd=folder, check=True)
    return python, folder


def environment(project: Project, folder: Path) -> Path:
    """Return the Python of an environment with the project's packages; torch and the like are those of this one."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        ours = sysconfig.get_paths()["purelib"]
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "_beside.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    missing = [name for name in project.packages if not _is_in(folder, name)]
    if missing:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise NotHadError(f"pip cannot install {' '.join(missing)}: {(errors or ['no reason given'])[-1]}")
    return python


def _is_in(folder: Path, requirement: str) -> bool:
    name = requirement.partition("=")[0].replace("-", "_").replace(".", "_")
    return any(folder.glob(f"lib/python*/site-packages/{name}-*.dist-info"))


def clone(source: Source, folder: Path) -> None:
    """Clone a repository at its commit, with the files of the named folders alone. Raises NotHadError."""
    commands = (
        ["git", "clone", "--quiet", "--filter=blob:none", "--no-checkout", source.url, str(folder)],
        [
            "git",
            "-C",
            str(folder),
            "checkout",
            "--quiet",
            source.commit,
            "--",
            *(name or "." for name in source.folders),
        ],
    )
    for command in commands:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        )
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotHadError(f"{source.url} cannot be cloned here: {reason}")


def version(project: Project, python: Path) -> str:
    """Return the version of the package that the table names, or the commit of the source."""
    if not project.version:
        return project.source.commit[:8] if project.source else ""
    program = f"from importlib.metadata import version; print(version({project.version!r}))"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def own_versions() -> dict[str, str]:
    """Return the versions of what all projects share."""
    found = {}
    for name in ("torch", "lightning", "sweep-orchestrator"):
        try:
            found[name] = distribution(name).version
        except PackageNotFoundError:
            continue
    return found
