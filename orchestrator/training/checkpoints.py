"""Write checkpoints durably, and verify that a checkpoint is what was written before it is loaded."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.serialization import get_unsafe_globals_in_checkpoint

from orchestrator import codec
from orchestrator.durable_files import check_file, storage_fault, write_durably
from orchestrator.errors import CheckpointError, CodecError, UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.training.checkpoint_names import PATTERN
from orchestrator.training.job import Checkpoint
from orchestrator.training.memory import out_of_memory
from orchestrator.training.pickled_state import can_be_pickled, is_pickled, pickled, unpickled

_LEFT_OVER = re.compile(r"\.epoch=\d+(-batch=\d+)?-segment=(?P<segment>\d+)\.ckpt\.\d+\.tmp")
_WRITTEN = "orchestrator.codec"  # the key of a checkpoint in which values are in the codec's form
_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
_STATE_HINT = (
    "keep tensors and plain values in state_dict() and on_save_checkpoint(), "
    "or allow the class with torch.serialization.add_safe_globals where your module is defined"
)
_HINT = "resume from an earlier checkpoint of the trial, or start the trial afresh"


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file and renames it, so that a file under its final name is complete, and reads it back.

    Errors are those of :func:`orchestrator.durable_files.write_durably`. ``written`` has the size in bytes and the
    SHA-256 of the last file of each path.

    Loading is ``weights_only``: tensors and plain values, never code. What such loading cannot restore by itself
    (numpy's numbers and arrays, deques, enums, dataclasses) is kept in the form of `orchestrator.codec`. State of a
    hook that has no such form is kept as in `pickled_state`, for the user's own run alone.

    Hyperparameters without a plain form are left out: an ``nn.Module`` that the constructor got must be passed to
    ``load_from_checkpoint`` again, as Lightning's own warning says. Anywhere else in the checkpoint a value
    that cannot be pickled either raises UsageError, with its key path, at the first save.
    """

    def __init__(self) -> None:
        self.written: dict[str, tuple[int, str]] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path`` durably. Raises UsageError if loading it would need code."""
        buffer = io.BytesIO()
        torch.save(_written(checkpoint), buffer)
        _refuse_code(buffer, Path(path))
        self.written[os.fspath(path)] = write_durably(Path(path), buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Load a checkpoint, always as weights only. Raises CheckpointError if the file cannot be read or loaded."""
        try:
            with _read_errors(Path(path)):
                return restored(super().load_checkpoint(path, map_location, weights_only=True))
        except (pickle.UnpicklingError, EOFError, RuntimeError, CodecError) as error:
            if out_of_memory(error):
                raise
            raise CheckpointError(
                f"{path} cannot be loaded: {str(error).splitlines()[0]}",
                hint="a checkpoint may hold tensors and plain values only",
            ) from error


def verify(run_directory: Path, checkpoint: Checkpoint) -> Path:
    """Check a checkpoint's size, then its SHA-256, and return its absolute path.

    Raises:
        CheckpointError: the file is absent, differs, cannot be read, or is outside the run directory (symbolic links
            are followed; the trial's folder of checkpoints may be one).
        OSError: the file server does not answer.
    """
    try:
        path = RunDirectory(run_directory).resolve(checkpoint.path)
    except UsageError as error:
        raise CheckpointError(
            f"the checkpoint {checkpoint.path!r} is outside the run directory {run_directory}",
            hint="copy the file into the run directory, or link the trial's whole folder of checkpoints",
        ) from error
    with _read_errors(path):
        check_file(path, checkpoint.size, checkpoint.sha256)
    return path


def remove_leftovers(folder: Path, segment: int) -> None:
    """Remove temporary files in ``folder`` of earlier segments than ``segment``, whose processes died.

    The folder may be a link; nothing is removed behind a link above it.
    """
    if folder.parent.is_symlink() or folder.parent.parent.is_symlink():
        return
    for path in folder.glob(f".{PATTERN}.*.tmp"):
        match = _LEFT_OVER.fullmatch(path.name)
        if match and int(match["segment"]) < segment:
            with suppress(OSError):  # a leftover file only costs space
                path.unlink()


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn a read error (EIO) or an absent file into a CheckpointError; other storage faults pass through.

    A disk that fails to read a file will fail again, so the file counts as damaged.
    """
    try:
        yield
    except OSError as error:
        if storage_fault(error) and error.errno != errno.EIO:
            raise
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error


def restored(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a loaded checkpoint with the values that were saved.

    A class, function or enum is found only in modules that are imported already.

    Raises:
        CodecError: it is not there.
        CheckpointError: state was pickled, and not under the user's key.
    """
    if not isinstance(checkpoint, dict) or checkpoint.get(_WRITTEN) is None:
        return checkpoint
    return {
        key: value if key in _HYPERPARAMETERS else _decoded(value)
        for key, value in checkpoint.items()
        if key != _WRITTEN
    }


def _decoded(value: Any) -> Any:
    if is_pickled(value):
        return unpickled(value)
    if type(value) is dict and any(map(is_pickled, value.values())):
        return {name: _decoded(item) for name, item in value.items()}
    return codec.decode(value, codec.loaded)


def _written(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the checkpoint in the form that weights-only loading reads. Raises CodecError with a key path."""
    content = dict(checkpoint)
    for key in _HYPERPARAMETERS:
        if isinstance(content.get(key), Mapping):
            content[key] = _plain_items(content[key])
    written = {
        key: value if key in _HYPERPARAMETERS else _encoded(value, (key,), deeper=True)
        for key, value in content.items()
    }
    changed = any(written[key] is not content[key] for key in content)
    return {**written, _WRITTEN: 1} if changed else written


def _encoded(value: Any, at: tuple[str, ...], *, deeper: bool) -> Any:
    """Return a value in the codec's form; what has none, of the hooks of one class, is pickled and signed."""
    try:
        return codec.encode(value, _FORM, at)
    except CodecError as error:
        if deeper and type(value) is dict and all(isinstance(name, str) for name in value):
            return {name: _encoded(item, (*at, name), deeper=False) for name, item in value.items()}
        try:
            return pickled(value, error)
        except CodecError as refusal:
            unkept = _unkept(value, at, error)
            reason = f"{unkept.reason}, so a checkpoint cannot hold it"
            raise CodecError(reason, at=unkept.at, hint=_STATE_HINT) from refusal.__cause__


def _unkept(value: Any, at: tuple[Any, ...], error: CodecError) -> CodecError:
    """Return the error about the part that has no plain form and cannot be pickled either; else ``error``."""
    parts = value.items() if type(value) is dict else enumerate(value) if type(value) in (list, tuple) else ()
    for name, part in parts:
        place = (*at, name)
        try:
            codec.encode(part, _FORM, place)
        except CodecError as inner:
            if not can_be_pickled(part):
                return _unkept(part, place, inner)
    return error


def _is_native(value: Any) -> bool:
    """Return whether weights-only loading restores a value without parts."""
    if value is None or type(value) in (bool, int, float, complex, str, torch.Size, torch.device, torch.dtype):
        return True
    if type(value) is bytes:
        return value != b""  # pickle writes an empty one as a call of the class
    return isinstance(value, torch.Tensor) or type(value) in torch.serialization.get_safe_globals()


_FORM = codec.Form(_is_native, frozenset({list, tuple, dict, OrderedDict, Counter, set}), is_text=False)


def _refuse_code(buffer: io.BytesIO, path: Path) -> None:
    """Raise UsageError for what `_written` cannot see: tensors of a class of their own, for example."""
    buffer.seek(0)
    unsafe = get_unsafe_globals_in_checkpoint(buffer)
    if unsafe:
        raise UsageError(
            f"{path.name} would hold objects that only unpickling can restore: {', '.join(sorted(unsafe))}",
            hint=_STATE_HINT,
        )


class _NotPlainError(Exception):
    """A value that weights-only loading does not restore."""


def _plain_items(values: Mapping[Any, Any]) -> dict[Any, Any]:
    plain = {}
    for key, value in values.items():
        with suppress(_NotPlainError):
            plain[key] = _plain(value)
    return plain


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
