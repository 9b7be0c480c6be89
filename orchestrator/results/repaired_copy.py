"""Write a copy of a run whose journal version 0.1.0 damaged, with a journal that can be read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.journal.repair import Repair, repaired
from orchestrator.rundir import RunDirectory, free_name, run_at

_NOT_COPIED = frozenset({"lease", "requests", ".ray", "export"})


def write_repaired_copy(run: RunDirectory) -> tuple[RunDirectory, Repair] | None:
    """Copy a run to ``NAME-repaired`` with a repaired journal; None if its journal is sound. The run stays as it is.

    Checkpoints are hard links, which take no room; they are never written again. The journal comes last: a copy that
    was interrupted is no run, and the next call completes it.

    Raises:
        UsageError: The run is in object storage.
        JournalError: The damage is of another kind.
    """
    if not isinstance(run.journal, Path):
        raise UsageError(f"{run.where} is in object storage, where no record can be doubled", hint="leave out --repair")
    repair = repaired(run.journal)
    if repair is None:
        return None
    copy = run_at(free_name(f"{run.name}-repaired", run.runs), run.runs)
    for source in _files(run.root):
        _copy(source, copy.root / source.relative_to(run.root))
    copy.root.mkdir(mode=0o700, exist_ok=True)
    write_durably(copy.root / run.journal.name, repair.content)
    return copy, repair


def _files(root: Path) -> Iterator[Path]:
    """Yield the run's own files except its journal; of links only a checkpoint folder on another disk is followed."""
    for folder, names, files in os.walk(root):
        place = Path(folder)
        names[:] = [name for name in names if place != root or name not in _NOT_COPIED]
        yield from (place / name for name in files if not (place == root and name.startswith(("journal.", "."))))
    for linked in root.glob("trials/*/checkpoints"):
        if linked.is_symlink():
            yield from linked.glob("*epoch=*.ckpt")


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.unlink(missing_ok=True)
    if source.suffix == ".ckpt":
        try:
            target.hardlink_to(source)
        except OSError:  # another disk, or a file system without hard links
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
