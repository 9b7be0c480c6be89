"""Download data sets, and decode their images into memory-mapped arrays, once for all processes of a node.

A cache entry is a folder: ``images.npy`` (N, height, width, channels) uint8, ``labels.npy`` (N,) int64 and
``cache.json`` (sizes, SHA-256, and the source of the images). It is built under a lock in a temporary folder, checked
and then renamed, so that an entry is always complete. An entry may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError

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


class _UnusableError(Exception):
    """The reason why an existing entry cannot be used."""


def open_or_build(name: str, *, data_dir: Path, source: dict[str, Any], decode: Callable[[], Arrays]) -> Images:
    """Return the cached images ``name`` of ``data_dir``, decoded first unless a process on this node has done so.

    If ``data_dir`` is not writable, the entry is in the user's cache folder. Errors of ``decode`` pass through.

    Args:
        name: the name of the entry.
        data_dir: the data set's folder.
        source: identifies the files that the images are decoded from, as JSON values. An entry of another source is
            rebuilt, and so is one whose sizes or shapes have changed; both with a warning.
        decode: returns the images and labels.
    """
    with contextlib.suppress(OSError, _UnusableError):
        return _open(data_dir / FOLDER / name, source)
    root = _writable_root(data_dir)
    with locked(root / f"{name}.lock"):
        try:
            return _open(root / name, source)
        except FileNotFoundError:
            pass
        except _UnusableError as reason:
            logger.warning("The image cache %s cannot be used (%s); building it again.", root / name, reason)
        _build(root / name, source, *decode())
        return _open(root / name, source)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` as this node's lock: one process at a time; the kernel releases it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _writable_root(data_dir: Path) -> Path:
    """Return the folder for entries of ``data_dir``: in it if it is writable, else in the user's cache folder."""
    root = data_dir / FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:16]
        root = home / "sweep-orchestrator" / digest
        root.mkdir(parents=True, exist_ok=True)
    return root


def _open(entry: Path, source: dict[str, Any]) -> Images:
    """Map an entry. Raises FileNotFoundError if there is none, _UnusableError if it differs from what was built."""
    text = (entry / "cache.json").read_text()
    try:
        metadata = json.loads(text)
        if metadata["format"] != FORMAT or metadata["source"] != source:
            raise _UnusableError("it was decoded from other files")
        arrays = {kind: _open_array(entry / file, metadata["files"][kind]) for kind, file in FILES.items()}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _UnusableError(f"{type(error).__name__}: {error}") from error
    return Images(**arrays)


def _open_array(path: Path, metadata: dict[str, Any]) -> NDArray[Any]:
    size = path.stat().st_size
    if size != metadata["bytes"]:
        raise _UnusableError(f"{path.name} has {size:,} bytes, but was built with {metadata['bytes']:,}")
    # Copy-on-write rather than read-only: torch warns about tensors over memory that it may not write.
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    if list(array.shape) != metadata["shape"] or str(array.dtype) != metadata["dtype"]:
        raise _UnusableError(f"{path.name} is {array.dtype} {array.shape}")
    return array


def _build(entry: Path, source: dict[str, Any], images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write an entry to a temporary folder, check it against the arrays and rename it. The caller holds the lock."""
    part = entry.with_name(f"{entry.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that died while building
    part.mkdir()
    arrays: dict[str, NDArray[Any]] = {"images": images, "labels": labels}
    files = {kind: _write(part / FILES[kind], array) for kind, array in arrays.items()}
    with (part / "cache.json").open("w") as file:
        json.dump({"format": FORMAT, "source": source, "files": files}, file, indent=1)
        os.fsync(file.fileno())
    if entry.exists():
        # Processes that have the old entry mapped keep it until they close it.
        shutil.rmtree(entry)
    part.rename(entry)


def _write(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.save(file, array)
        os.fsync(file.fileno())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        header = os.fstat(file.fileno()).st_size - array.nbytes
        file.seek(header)
        if hashlib.file_digest(file, "sha256").digest() != hashlib.sha256(array.data).digest():
            raise OSError(f"{path} differs from what was written to it")
    size = path.stat().st_size
    return {"bytes": size, "sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}


TIMEOUT_SECONDS = 30.0  # without a byte from the server


def fetch(dataset: str, data_dir: Path, download: Callable[[], object], *, missing: str, hint: str) -> None:
    """Download a data set under this node's lock.

    Args:
        dataset: its name.
        data_dir: its folder.
        download: downloads the files, unless another process has done so meanwhile.
        missing: names the missing files, for the error.
        hint: of the error.

    Raises:
        DataError: the download fails.
    """
    try:
        with locked(data_dir / FOLDER / f"{dataset}.download.lock"), _socket_timeout():
            download()
    except (OSError, RuntimeError, EOFError) as error:  # URLError and BadGzipFile are OSErrors
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{dataset} is not complete in {data_dir.absolute()} ({missing}) and could not be downloaded: {reason}",
            hint=hint,
        ) from error


def announce_download(dataset: str, size: str, data_dir: Path) -> None:
    """Say in the log what is downloaded, and how much, before that begins."""
    logger.warning("downloading %s, %s, into %s", dataset, size, data_dir.absolute())


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """Set a timeout for new sockets: torchvision's have none, and would hang behind a firewall that drops packets."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
