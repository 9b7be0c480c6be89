"""Checkpoints on disk: whole under their final name, read back, verified, and free of code."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.errors import CheckpointError
from orchestrator.training import Checkpoint
from orchestrator.training.checkpoints import (
    DurableCheckpointIO,
    checkpoint_name,
    fingerprint,
    prune,
    verify,
    write_durably,
)


def _written(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "trials/0007/checkpoints" / checkpoint_name(3)
    size, digest = write_durably(path, memoryview(content))
    return Checkpoint(path.relative_to(folder).as_posix(), size, digest, 3)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_what_was_written_is_what_is_there(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    checkpoint = _written(tmp_path, content)
    assert checkpoint.path == "trials/0007/checkpoints/epoch=0003.ckpt"
    assert (checkpoint.size, checkpoint.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert (tmp_path / checkpoint.path).read_bytes() == content
    assert verify(tmp_path, checkpoint) == tmp_path / checkpoint.path
    assert fingerprint(tmp_path / checkpoint.path) == (checkpoint.size, checkpoint.sha256)


def test_file_then_rename_then_directory_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        steps.append("fsync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        assert path.parent == target.parent
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_rename)
    _written(tmp_path, b"weights")
    assert steps == ["fsync file", "rename", "fsync directory"]


def test_a_failed_write_leaves_the_file_before_it_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = _written(tmp_path, b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _written(tmp_path, b"after, which does not fit")
    assert verify(tmp_path, checkpoint).read_bytes() == b"before"
    assert len(list((tmp_path / checkpoint.path).parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 5 bytes, but 6 were written"),
        (lambda path: path.write_bytes(b"befork"), "has SHA-256"),
    ],
)
def test_a_changed_checkpoint_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    checkpoint = _written(tmp_path, b"before")
    damage(tmp_path / checkpoint.path)
    with pytest.raises(CheckpointError, match=message):
        verify(tmp_path, checkpoint)


def test_prune_keeps_what_it_is_told_and_removes_temporary_files(tmp_path: Path) -> None:
    for epoch in range(1, 6):
        write_durably(tmp_path / checkpoint_name(epoch), memoryview(b"x"))
    (tmp_path / f".{checkpoint_name(6)}.123.tmp").touch()
    (tmp_path / "mine.ckpt").touch()
    prune(tmp_path, {2, 5})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0002.ckpt", "epoch=0005.ckpt", "mine.ckpt"]


def test_hyperparameters_are_saved_as_plain_values_and_modules_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    given = {
        "rate": np.float64(0.5),
        "shape": (3, 32, 32),
        "folder": Path("data"),
        "encoder": nn.Linear(1, 1),
        "nested": {"layers": [1, 2], "name": "x"},
    }
    DurableCheckpointIO().save_checkpoint({"state_dict": {}, "hyper_parameters": given}, path)
    assert torch.load(path)["hyper_parameters"] == {
        "rate": 0.5,
        "shape": (3, 32, 32),
        "folder": "data",
        "nested": {"layers": [1, 2], "name": "x"},
    }


class _Secret:
    """Something that only unpickling restores."""


def test_objects_elsewhere_in_a_checkpoint_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"_Secret.*\n?.*add_safe_globals"):
        DurableCheckpointIO().save_checkpoint({"state_dict": {}, "mine": _Secret()}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_file_that_holds_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"mine": _Secret()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DurableCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=False)
