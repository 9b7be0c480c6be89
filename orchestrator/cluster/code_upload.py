"""Collect the code that is uploaded with a job: the folders of the modules that a sweep file names."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.rundir import runs_root
from orchestrator.spec import SweepSpec, to_yaml

FILE_LIMIT = 1 << 20
"""Maximum bytes of one file. A larger one is data, which belongs on storage that every node sees."""
TOTAL_LIMIT = 64 << 20
"""Maximum bytes of all files."""
_EXCLUDED = {"data", "runs", "wandb", "mlruns", "site", "dist", "build", "node_modules", "__pycache__"}


@dataclass
class CodeUpload:
    """What was copied.

    Attributes:
        files: Number of files.
        size: Their bytes.
        large: Files left out because they exceed `FILE_LIMIT`.
    """

    files: int = 0
    size: int = 0
    large: list[str] = field(default_factory=list)


def collect(spec: SweepSpec, roots: Sequence[str], folder: Path) -> CodeUpload:
    """Write the sweep file to ``folder``/sweep.yaml, and copy the code of the roots that its classes came from.

    Hidden folders and those for data, runs and build products are left out. If two roots have the same file, the first
    one's is copied, as on import.

    Args:
        spec: The sweep, whose classes have been imported.
        roots: Folders of ``sys.path``, in order.
        folder: The destination.

    Raises:
        UsageError: The files exceed `TOTAL_LIMIT`.
    """
    # Word for word, since the job runs it; a sweep file with a secret of this machine was refused when it was read.
    (folder / "sweep.yaml").write_text(to_yaml(spec), encoding="utf-8")
    upload = CodeUpload()
    for root in _imported_roots(roots):
        for file in _files(root):
            target, size = folder / file.relative_to(root), file.stat().st_size
            if target.exists():
                continue
            if size > FILE_LIMIT:
                upload.large.append(str(file.relative_to(root)))
                continue
            upload.files, upload.size = upload.files + 1, upload.size + size
            if upload.size > TOTAL_LIMIT:
                raise UsageError(
                    f"the code in {root} exceeds {TOTAL_LIMIT >> 20} MB",
                    hint="start from a folder that holds only the sweep's code, or install that code on the cluster",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return upload


def _imported_roots(roots: Sequence[str]) -> list[Path]:
    """Return the roots that modules were imported from, without this package and installed ones."""
    folders = [Path(root).resolve() for root in roots]
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    imported: set[Path] = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not Path(file).is_absolute() or name.partition(".")[0] == __name__.partition(".")[0]:
            continue
        path = Path(file).resolve()
        if not any(path.is_relative_to(prefix) for prefix in installed):
            imported.update(folder for folder in folders if path.is_relative_to(folder))
    return [folder for folder in dict.fromkeys(folders) if folder in imported]


def _files(root: Path) -> Iterator[Path]:
    runs = runs_root()
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in _EXCLUDED or path.resolve() == Path(runs).resolve():
            continue
        if path.is_dir() and not path.is_symlink():
            if not (path / "pyvenv.cfg").exists():
                yield from _files(path)
        elif path.is_file():
            yield path
