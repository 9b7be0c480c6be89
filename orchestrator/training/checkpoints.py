"""Checkpoints that are on disk and readable when they are said to be, and that are what they were when read again."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.serialization import get_unsafe_globals_in_checkpoint

from orchestrator.durable_files import check_file, storage_fault, write_durably
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.training.job import Checkpoint
from orchestrator.training.memory import out_of_memory

PATTERN = "epoch=*-segment=*.ckpt"
_LEFT_OVER = re.compile(r"\.epoch=\d+-segment=(?P<segment>\d+)\.ckpt\.\d+\.tmp")
_HINT = "an earlier checkpoint of the trial, or a fresh start, is what remains"


def checkpoint_name(epoch: int, segment: int) -> str:
    """The file that holds the trial after ``epoch`` finished epochs, as ``segment`` trained it.

    No two processes write the same file: one whose sweep has been taken over meanwhile may still be training.
    """
    return f"epoch={epoch:04d}-segment={segment}.ckpt"


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames, so that a file under its final name is always whole, and reads back what it wrote.

    How, and what it raises, is :func:`orchestrator.durable_files.write_durably`'s. ``written`` has the size and
    SHA-256 of the last file of each path.

    Loading is ``weights_only``: tensors and plain values, never code. What a file could not be loaded with is left out
    of its hyperparameters (an ``nn.Module`` given to the constructor is to be given to ``load_from_checkpoint`` again,
    as Lightning's own warning says); anywhere else in the checkpoint it raises UsageError at the first save.
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
            with _unreadable(Path(path)):
                return super().load_checkpoint(path, map_location, weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as problem:
            if out_of_memory(problem):
                raise
            raise CheckpointError(
                f"{path} cannot be loaded: {str(problem).splitlines()[0]}",
                hint="a checkpoint may hold tensors and plain values only",
            ) from problem


def verify(run_directory: Path, checkpoint: Checkpoint) -> Path:
    """The absolute path of a checkpoint after checking that it is what it was: size first, then SHA-256.

    Raises CheckpointError where it is absent, differs, cannot be read, or is outside the run directory (symbolic links
    followed); OSError where the file server does not answer.
    """
    path = Path(os.path.realpath(run_directory / checkpoint.path))
    if not path.is_relative_to(os.path.realpath(run_directory)):
        raise CheckpointError(
            f"the checkpoint {checkpoint.path!r} is outside the run directory {run_directory}",
            hint="a run's checkpoints are files of its own; copy it to where it should be, not a link to it",
        )
    with _unreadable(path):
        check_file(path, checkpoint.size, checkpoint.sha256)
    return path


def remove_leftovers(folder: Path, segment: int) -> None:
    """Remove the temporary files that segments before ``segment`` left in ``folder`` when their process died."""
    for path in folder.glob(f".{PATTERN}.*.tmp"):
        found = _LEFT_OVER.fullmatch(path.name)
        if found and int(found["segment"]) < segment:
            with suppress(OSError):  # litter costs space, not the segment
                path.unlink()


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """A disk that fails to read a file will fail again: what remains is another checkpoint, as for a damaged one."""
    try:
        yield
    except OSError as problem:
        if storage_fault(problem) and problem.errno != errno.EIO:
            raise
        raise CheckpointError(f"{path} cannot be read: {problem.strerror or problem}", hint=_HINT) from problem


def _refuse_code(buffer: io.BytesIO, path: Path) -> None:
    buffer.seek(0)
    unsafe = get_unsafe_globals_in_checkpoint(buffer)
    if unsafe:
        raise UsageError(
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
