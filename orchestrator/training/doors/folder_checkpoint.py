"""A folder as one checkpoint file: a tar archive of plain files, the same bytes for the same content."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.durable_files import write_durably
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.training.job import model_name

_COUNTS = ".sweep.json"


def pack(folder: Path, counts: Mapping[str, Any], path: Path) -> tuple[int, str]:
    """Write the folder's files, or one file, to ``path`` durably; return size and SHA-256.

    Args:
        folder: what the user saved.
        counts: how far the training is, for the next segment.
        path: of the checkpoint.

    Raises:
        UsageError: There is nothing in it, or something that is neither a file nor a folder.
        OSError: As `write_durably`.
    """
    entries = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    files = [entry for entry in entries if not entry.is_dir()]
    if not files:
        raise UsageError(f"the checkpoint {folder} holds no file", hint="write into the folder before report()")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, _COUNTS, json.dumps(counts).encode())
        for file in files:
            if not file.is_file():
                raise UsageError(f"the checkpoint's {file} is no file", hint="save plain files into the folder")
            name = file.relative_to(folder).as_posix() if folder.is_dir() else file.name
            _add(archive, f"files/{name}", file.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_durably(path, buffer.getbuffer())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))


def unpack(path: Path, folder: Path) -> Path:
    """Write the files of a checkpoint into ``folder``, which is emptied first; return the folder.

    Raises:
        CheckpointError: The file is no such archive.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with _opened(path) as archive:
        members = [member for member in archive.getmembers() if member.name.startswith("files/")]
        archive.extractall(folder, members, filter="data")
    return folder / "files"


def counts_of(path: Path) -> dict[str, Any]:
    """Return how far the training was at a checkpoint. Raises CheckpointError if the file is no such archive."""
    with _opened(path) as archive:
        try:
            content = archive.extractfile(_COUNTS)
        except KeyError:
            content = None
        return dict(json.load(content)) if content else {}


def is_packed(path: Path) -> bool:
    """Return whether a checkpoint is one of `pack`, not a Trainer's."""
    return tarfile.is_tarfile(path)


def require_module(model: Mapping[str, Any], checkpoint: Path, purpose: str) -> None:
    """Raise UsageError for a checkpoint that code without a Trainer saved: nobody but that code can use it.

    Args:
        model: a job's.
        checkpoint: its file.
        purpose: the command, such as ``test``.
    """
    if "class_path" not in model and is_packed(checkpoint):
        raise UsageError(
            f"`sweep {purpose}` needs a LightningModule, and {model_name(model)} trains without a Lightning Trainer",
            hint=f"its checkpoint holds what the code saved: {checkpoint}",
        )


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, mode="r:")
    except tarfile.TarError as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of orchestrator.checkpoint(): {error}",
            hint="resume from an earlier checkpoint of the trial, or start the trial afresh",
        ) from error
