"""Tell what is data: nothing below a run directory or a bundle is code."""

from __future__ import annotations

import os
from pathlib import Path


def cache_of_runs() -> Path:
    """Return the folder of this machine's copies of runs in object storage."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweep-orchestrator" / "runs"


def data_folder(path: str | Path) -> Path | None:
    """Return the run directory, the bundle or the cache of runs that holds a path; None for any other path.

    Links count for both of their ends.
    """
    plain = Path(os.path.abspath(path))  # noqa: PTH100 (`absolute` keeps "..")
    for place in dict.fromkeys((plain, plain.resolve())):
        for folder in (place, *place.parents):
            if _is_run(folder) or _is_bundle(folder) or _is_cache(folder):
                return folder
    return None


def _is_run(folder: Path) -> bool:
    return (folder / "journal.jsonl").exists()


def _is_bundle(folder: Path) -> bool:
    return (folder / "MANIFEST.json").exists() and (folder / "config.json").exists()


def _is_cache(folder: Path) -> bool:
    try:
        return folder == cache_of_runs()
    except RuntimeError:  # the user has no home
        return False
