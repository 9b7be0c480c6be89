"""Checkpoints that are on disk and readable when they are said to be, and that are what they were when read again."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.serialization import get_unsafe_globals_in_checkpoint

from orchestrator.errors import CheckpointError
from orchestrator.training.job import Checkpoint

PATTERN = "epoch=*.ckpt"
_CHUNK = 1 << 20


def checkpoint_name(epoch: int) -> str:
    """The file that holds the trial after ``epoch`` finished epochs."""
    return f"epoch={epoch:04d}.ckpt"


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames, so that a file under its final name is always whole, and reads back what it wrote.

    The bytes go to a temporary name in the same directory and are fsync'd; the name is changed, the directory fsync'd,
    and the file read again and compared. ``written`` has the size and SHA-256 of the last file of each path.

    Loading is ``weights_only``: tensors and plain values, never code. What a file could not be loaded with is left out
    of its hyperparameters (an ``nn.Module`` given to the constructor is to be given to ``load_from_checkpoint`` again,
    as Lightning's own warning says); anywhere else in the checkpoint it raises CheckpointError at the first save.
    """

    def __init__(self) -> None:
        self.written: dict[str, tuple[int, str]] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(_with_plain_hyperparameters(checkpoint), buffer)
        _refuse_code(buffer, Path(path))
        self.written[os.fspath(path)] = write_durably(Path(path), buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, map_location, weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError, OSError) as problem:
            raise CheckpointError(
                f"{path} cannot be loaded: {str(problem).splitlines()[0]}",
                hint="a checkpoint may hold tensors and plain values only",
            ) from problem


def write_durably(path: Path, content: memoryview) -> tuple[int, str]:
    """Put ``content`` under ``path`` atomically; returns size in bytes and SHA-256 of what was read back from it.

    Raises CheckpointError where the file does not read back as written; OSError where it cannot be written. What
    was there before under ``path`` stays until the new file is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb", buffering=0) as file:
            _write_all(file.fileno(), content)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start in range(0, content.nbytes + 1, _CHUNK):
            chunk = file.read(_CHUNK)
            if chunk != content[start : start + _CHUNK]:
                raise CheckpointError(f"{path} does not read back as it was written", hint="check the disk")
            digest.update(chunk)
    return content.nbytes, digest.hexdigest()


def fingerprint(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, in one reading."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def verify(run_directory: Path, checkpoint: Checkpoint) -> Path:
    """The absolute path of a checkpoint after checking that it is what it was: size first, then SHA-256.

    Raises CheckpointError where it is absent or differs.
    """
    path = run_directory / checkpoint.path
    hint = "an earlier checkpoint of the trial, or a fresh start, is what remains"
    if not path.is_file():
        raise CheckpointError(f"{path} is gone", hint=hint)
    size = path.stat().st_size
    if size != checkpoint.size:
        raise CheckpointError(f"{path} has {size} bytes, but {checkpoint.size} were written", hint=hint)
    digest = fingerprint(path)[1]
    if digest != checkpoint.sha256:
        raise CheckpointError(f"{path} has SHA-256 {digest}, but {checkpoint.sha256} was written", hint=hint)
    return path


def prune(folder: Path, keep: Iterable[int]) -> None:
    """Remove the epochs' checkpoints in ``folder``, and left-over temporary files, but for the epochs to keep."""
    kept = {checkpoint_name(epoch) for epoch in keep}
    for path in (*folder.glob(PATTERN), *folder.glob(f".{PATTERN}.*.tmp")):
        if path.name not in kept:
            with suppress(FileNotFoundError):
                path.unlink()


def _write_all(descriptor: int, content: memoryview) -> None:
    written = 0
    while written < content.nbytes:
        written += os.write(descriptor, content[written:])


def _sync_directory(folder: Path) -> None:
    """A rename is durable only once its directory is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_code(buffer: io.BytesIO, path: Path) -> None:
    buffer.seek(0)
    unsafe = get_unsafe_globals_in_checkpoint(buffer)
    if unsafe:
        raise CheckpointError(
            f"{path.name} would hold objects that only unpickling can restore: {', '.join(sorted(unsafe))}",
            hint="keep tensors and plain values in state_dict() and on_save_checkpoint(), "
            "or allow the classes with torch.serialization.add_safe_globals where your module is defined",
        )


def _with_plain_hyperparameters(checkpoint: dict[str, Any]) -> dict[str, Any]:
    plain = dict(checkpoint)
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if isinstance(plain.get(key), Mapping):
            plain[key] = _plain_items(plain[key])
    return plain


class _NotPlainError(Exception):
    """A value that no weights-only loading restores."""


def _plain_items(values: Mapping[Any, Any]) -> dict[Any, Any]:
    kept = {}
    for key, value in values.items():
        with suppress(_NotPlainError):
            kept[key] = _plain(value)
    return kept


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if type(value) in (torch.Tensor, torch.Size, torch.device, torch.dtype):
        return value
    raise _NotPlainError
