"""The code that goes along with a job: the modules that a sweep file names, and what lies around them."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.rundir import runs_root
from orchestrator.secrets import write_masked
from orchestrator.spec import SweepSpec, to_yaml

FILE_LIMIT = 1 << 20
"""Bytes of a file that goes along; what is larger is data, and belongs where every node sees it."""
WHOLE_LIMIT = 64 << 20
"""Bytes of all of them."""
_LEFT_OUT = {"data", "runs", "wandb", "mlruns", "site", "dist", "build", "node_modules", "__pycache__"}


@dataclass
class Shipment:
    """What was put into a folder: files, their bytes, and those that were too large."""

    files: int = 0
    size: int = 0
    large: list[str] = field(default_factory=list)


def ship(spec: SweepSpec, roots: Sequence[str], folder: Path) -> Shipment:
    """Put the sweep file into ``folder`` as sweep.yaml, and the code of those ``roots`` that its classes came from.

    The classes have been imported. Hidden folders stay behind, and those for data, runs and what is built. What lies in
    an earlier root counts, as on import.

    Raises UsageError where it is too much.
    """
    write_masked(folder / "sweep.yaml", to_yaml(spec))
    shipment = Shipment()
    for root in _used(roots):
        for file in _files(root):
            target, size = folder / file.relative_to(root), file.stat().st_size
            if target.exists():
                continue
            if size > FILE_LIMIT:
                shipment.large.append(str(file.relative_to(root)))
                continue
            shipment.files, shipment.size = shipment.files + 1, shipment.size + size
            if shipment.size > WHOLE_LIMIT:
                raise UsageError(
                    f"more than {WHOLE_LIMIT >> 20} MB lie in {root}",
                    hint="start from a folder with the sweep's code alone, or install that code on the cluster",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return shipment


def _used(roots: Sequence[str]) -> list[Path]:
    """The roots that modules were imported from, but for this package and installed ones."""
    folders = [Path(root).resolve() for root in roots]
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    found: set[Path] = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not Path(file).is_absolute() or name.partition(".")[0] == __name__.partition(".")[0]:
            continue
        path = Path(file).resolve()
        if not any(path.is_relative_to(place) for place in installed):
            found.update(folder for folder in folders if path.is_relative_to(folder))
    return [folder for folder in dict.fromkeys(folders) if folder in found]


def _files(root: Path) -> Iterator[Path]:
    runs = runs_root()
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT or path.resolve() == Path(runs).resolve():
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _files(path)
        elif path.is_file():
            yield path
