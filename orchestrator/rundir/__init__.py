"""Find run directories by name, in a folder of runs or below a URL in object storage.

`run_directory` is one in a folder, `object_store_run` one in object storage. `run_data` tells what is data.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.object_storage import is_url, objects
from orchestrator.rundir.object_store_run import RunInObjects
from orchestrator.rundir.run_data import data_folder
from orchestrator.rundir.run_directory import RunDirectory
from orchestrator.rundir.startup import STARTING, starting

__all__ = [
    "RunDirectory", "data_folder", "free_name", "is_run", "is_run_name", "list_runs", "run_at", "run_of", "runs_root",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def runs_root(runs: str | Path | None = None) -> Path | str:
    """Return the folder or URL of the runs: ``runs`` if given, else ``$SWEEP_RUNS``, else ``./runs``; made absolute."""
    place = runs or os.environ.get("SWEEP_RUNS") or "runs"
    return str(place).rstrip("/") if is_url(place) else Path(place).expanduser().absolute()


def is_run_name(name: object) -> bool:
    """Return whether a value can name a run: such a name cannot leave the folder of runs."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def run_at(name: str, runs: str | Path | None = None) -> RunDirectory:
    """Return the run directory of that name. Raises UsageError if the name could leave the folder of runs."""
    if not is_run_name(name):
        raise UsageError(
            f"{name!r} cannot name a run",
            hint="a name is 1 to 100 letters, digits, dots, dashes and underscores, not starting with . or -",
        )
    root = runs_root(runs)
    return RunDirectory(root / name) if isinstance(root, Path) else RunInObjects.of(f"{root}/{name}")


def free_name(name: str, runs: str | Path | None = None) -> str:
    """Return the first of ``name``, ``name-2``, ``name-3``, … that no run has. Raises UsageError as `run_at` does."""
    candidates = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if not run_at(candidate, runs).exists())


def run_of(where: str) -> RunDirectory:
    """Return the run directory at a path or URL, as its ``where`` gives it."""
    return RunInObjects.of(where) if is_url(where) else RunDirectory(Path(where))


def list_runs(runs: str | Path | None = None) -> list[RunDirectory]:
    """Return every run in the folder or at the URL of runs, oldest first; those that are being started included."""
    root = runs_root(runs)
    candidates: list[RunDirectory]
    if isinstance(root, Path):
        places = {path.parent for name in ("journal.jsonl", STARTING) for path in root.glob(f"*/{name}")}
        candidates = [RunDirectory(place) for place in places if not place.name.startswith(".")]
    else:
        names = (name.rpartition("/")[2] for name in objects(root).folders())
        candidates = [RunInObjects.of(f"{root}/{name}") for name in names if is_run_name(name)]
    return sorted(filter(is_run, candidates), key=lambda run: (run.created_at, run.name))


def is_run(run: RunDirectory) -> bool:
    """Return whether a sweep was started there, or is being started."""
    return run.exists() or bool(starting(run))
