"""Images decoded once a node into memory-mapped arrays that every process on the node shares.

An entry is a folder: ``images.npy`` (N, height, width, channels) uint8, ``labels.npy`` (N,) int64 and ``cache.json``
(sizes, SHA-256, and the source it was decoded from). It is built under a lock, beside its place, checked and then
renamed into it: whoever finds an entry finds a whole one, and an entry may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FORMAT = 1
FOLDER = ".sweep-cache"
FILES = {"images": "images.npy", "labels": "labels.npy"}

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Images:
    """``images`` (N, height, width, channels) uint8 and ``labels`` (N,) int64, both memory-mapped copy-on-write."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class _Unusable(Exception):
    """Why an entry that exists cannot be used."""


def open_or_build(name: str, *, data_dir: Path, source: dict[str, Any], decode: Callable[[], Arrays]) -> Images:
    """The cached images ``name`` of ``data_dir``, decoded first where no process on this node has done so.

    ``source`` (JSON values) says what the images were decoded from: an entry of another source is rebuilt. An entry
    whose sizes or shapes are not those it was built with is rebuilt, with a notice. Where ``data_dir`` cannot be
    written, the entry lives in the user's cache folder. Errors of ``decode`` pass through.
    """
    with contextlib.suppress(OSError, _Unusable):
        return _open(data_dir / FOLDER / name, source)
    root = _writable_root(data_dir)
    with locked(root / f"{name}.lock"):
        try:
            return _open(root / name, source)
        except FileNotFoundError:
            pass
        except _Unusable as reason:
            logger.warning("The image cache %s cannot be used (%s); building it again.", root / name, reason)
        _build(root / name, source, *decode())
        return _open(root / name, source)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` as this node's lock: one process at a time; let go by the kernel when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _writable_root(data_dir: Path) -> Path:
    """The folder that entries of ``data_dir`` are built in: in it where that can be, else in the user's cache."""
    root = data_dir / FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:16]
        root = home / "sweep-orchestrator" / place
        root.mkdir(parents=True, exist_ok=True)
    return root


def _open(entry: Path, source: dict[str, Any]) -> Images:
    """Map an entry. FileNotFoundError where there is none, _Unusable where it is not what was built."""
    text = (entry / "cache.json").read_text()
    try:
        about = json.loads(text)
        if about["format"] != FORMAT or about["source"] != source:
            raise _Unusable("it was decoded from other files")
        arrays = {kind: _open_array(entry / file, about["files"][kind]) for kind, file in FILES.items()}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _Unusable(f"{type(error).__name__}: {error}") from error
    return Images(**arrays)


def _open_array(path: Path, about: dict[str, Any]) -> NDArray[Any]:
    size = path.stat().st_size
    if size != about["bytes"]:
        raise _Unusable(f"{path.name} has {size:,} bytes, but was built with {about['bytes']:,}")
    # Copy-on-write rather than read-only: torch warns about tensors over memory that it may not write.
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    if list(array.shape) != about["shape"] or str(array.dtype) != about["dtype"]:
        raise _Unusable(f"{path.name} is {array.dtype} {array.shape}")
    return array


def _build(entry: Path, source: dict[str, Any], images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write an entry beside its place, check it against the arrays and rename it. The caller holds the lock."""
    part = entry.with_name(f"{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that died while it built
    part.mkdir()
    arrays: dict[str, NDArray[Any]] = {"images": images, "labels": labels}
    about = {"format": FORMAT, "source": source, "files": {k: _write(part / FILES[k], a) for k, a in arrays.items()}}
    with (part / "cache.json").open("w") as file:
        json.dump(about, file, indent=1)
        _sync(file.fileno())
    if entry.exists():
        # Processes that have the old entry mapped keep it until they close it.
        shutil.rmtree(entry)
    part.rename(entry)


def _write(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.save(file, array)
        _sync(file.fileno())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        header = os.fstat(file.fileno()).st_size - array.nbytes
        file.seek(header)
        if hashlib.file_digest(file, "sha256").digest() != hashlib.sha256(array.data).digest():
            raise OSError(f"{path} does not read back as it was written")
    size = path.stat().st_size
    return {"bytes": size, "sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
