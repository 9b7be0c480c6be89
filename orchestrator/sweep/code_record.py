"""The user's code that a sweep is launched with: its git commit, uncommitted changes, and a hash of each file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.policies.numerics import numerics
from orchestrator.secrets import masked
from orchestrator.spec import SweepSpec
from orchestrator.training.machine_info import RECORDED, versions

LARGEST_DIFF = 1_000_000
"""Characters; a longer diff is truncated."""
_MOST_FILES = 200
_MOST_NAMES = 20_000
_LARGEST_FILE = 1 << 20


def environment(spec: SweepSpec, roots: Sequence[str]) -> dict[str, Any]:
    """Return what a launch or resume records: ``code``, ``versions`` of the libraries, and ``numerics``.

    Args:
        spec: the sweep.
        roots: the folders that the user's modules are imported from.
    """
    return {"code": code_record(spec, roots), "versions": versions(RECORDED), "numerics": numerics()}


def code_record(spec: SweepSpec, roots: Sequence[str]) -> dict[str, Any]:
    """Return ``commit`` and ``diff`` (a hash of the uncommitted changes), null outside of git, and ``files``.

    ``files`` has a hash of each Python file of the packages that the spec names, and of those beside them.
    """
    files = dict(_hashes(spec, roots))
    folder = next((root for root in roots if any(Path(root, name).exists() for name in files)), None)
    diff = _git("diff", "HEAD", folder=folder)
    return {"commit": git_commit(folder), "diff": _hash(diff.encode()) if diff else None, "files": files}


def git_commit(folder: str | None = None) -> str | None:
    """Return the commit of a folder, with ``+`` if files differ from it; None outside of git.

    The folder is by default the working directory.
    """
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*", folder=folder).strip() or None


def git_diff() -> str:
    """Return the changes, secrets masked, of the working directory since its commit."""
    diff = masked(_git("diff", "HEAD"))
    return diff if len(diff) <= LARGEST_DIFF else f"{diff[:LARGEST_DIFF]}\n(cut off here: {len(diff):,} characters)\n"


def _hashes(spec: SweepSpec, roots: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield path and hash of each file, a limited number of them; those beyond it have one hash together."""
    packages = sorted({path.partition(".")[0] for path in _class_paths(spec.model_dump(mode="json"))} | _code_of(spec))
    files: dict[str, Path] = {}
    for root in map(Path, roots):
        for path in _files(root, [name for name in packages if name != "orchestrator"]):
            files.setdefault(path.relative_to(root).as_posix(), path)
    hashes = {name: _hash_of(path) for name, path in sorted(files.items())}
    yield from list(hashes.items())[:_MOST_FILES]
    if rest := list(hashes.items())[_MOST_FILES:]:
        yield f"{len(rest)} more files", _hash(repr(rest).encode())


def _code_of(spec: SweepSpec) -> set[str]:
    """Return the first part of the module, or of the path, of a function or a script."""
    scripts = [spec.program or "", *(word for word in spec.command or () if word.endswith(".py"))]
    names = {
        Path(script).parts[0].removesuffix(".py") for script in scripts if script and not Path(script).is_absolute()
    }
    return names | ({spec.train.partition(":")[0].partition(".")[0]} if spec.train else set())


def _files(root: Path, packages: Iterable[str]) -> Iterator[Path]:
    """Yield the Python files of the packages in the folder, and those directly in it if one of them is there."""
    present = [name for name in packages if (root / f"{name}.py").is_file() or (root / name).is_dir()]
    if present:
        yield from (path for path in root.glob("*.py") if path.is_file())
    for name in present:
        yield from _walk(root / name)


def _walk(package: Path) -> Iterator[Path]:
    """Yield the Python files of a package. Data in the package does not count: a limited number of names is read."""
    folders, names = [package], 0
    while folders:
        folder = folders.pop(0)
        with suppress(OSError), os.scandir(folder) as entries:
            inside = sorted(islice(entries, _MOST_NAMES), key=lambda entry: entry.name)
            names += len(inside)
            if names >= _MOST_NAMES:
                return
            yield from (Path(entry.path) for entry in inside if entry.name.endswith(".py") and entry.is_file())
            plain = (entry for entry in inside if entry.is_dir(follow_symlinks=False))
            folders += [Path(entry.path) for entry in plain if not entry.name.startswith((".", "__pycache__"))]


def _class_paths(value: Any) -> Iterator[str]:
    """Yield every ``class_path`` in a spec."""
    if isinstance(value, dict):
        if isinstance(path := value.get("class_path"), str):
            yield path
        for item in value.values():
            yield from _class_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _class_paths(item)


def _hash_of(path: Path) -> str:
    with suppress(OSError):
        return _hash(path.read_bytes()[:_LARGEST_FILE])
    return ""


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=6).hexdigest()


def _git(*arguments: str, folder: str | None = None) -> str:
    try:
        process = subprocess.run(["git", *arguments], capture_output=True, timeout=5, check=True, cwd=folder)
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.decode(errors="replace")
