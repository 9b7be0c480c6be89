"""Checkpoints on disk: whole under their final name, read back, verified, and free of code."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.durable_files import fingerprint, write_durably
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.training import Checkpoint
from orchestrator.training.checkpoint_names import checkpoint_name
from orchestrator.training.checkpoints import DurableCheckpointIO, remove_leftovers, verify
from orchestrator.training.pickled_state import pickled_places


def _written(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "trials/0007/checkpoints" / checkpoint_name(3, segment=1)
    size, digest = write_durably(path, memoryview(content))
    return Checkpoint(path.relative_to(folder).as_posix(), size, digest, 3)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_what_was_written_is_what_is_there(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    checkpoint = _written(tmp_path, content)
    assert checkpoint.path == "trials/0007/checkpoints/epoch=0003-segment=1.ckpt"
    assert (checkpoint.size, checkpoint.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert (tmp_path / checkpoint.path).read_bytes() == content
    assert verify(tmp_path, checkpoint) == tmp_path / checkpoint.path
    assert fingerprint(tmp_path / checkpoint.path) == (checkpoint.size, checkpoint.sha256)


def test_file_then_rename_then_directory_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noting_fsync(descriptor: int) -> None:
        steps.append("fsync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> None:
        assert path.parent == target.parent
        steps.append("rename")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_rename)
    _written(tmp_path, b"weights")
    assert steps[:3] == ["fsync file", "rename", "fsync directory"]
    assert set(steps[3:]) == {"fsync directory"}, "the folders made for it, once, from the inside out"


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


@pytest.mark.parametrize("errno_", [errno.EIO, errno.EACCES])
def test_what_cannot_be_read_is_a_checkpoint_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errno_: int) -> None:
    checkpoint = _written(tmp_path, b"before")

    def failing(*args: Any) -> Any:
        raise OSError(errno_, os.strerror(errno_))

    monkeypatch.setattr(hashlib, "file_digest", failing)
    with pytest.raises(CheckpointError, match="cannot be read"):
        verify(tmp_path, checkpoint)


def test_a_file_server_that_does_not_answer_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = _written(tmp_path, b"before")

    def silent(*args: Any) -> Any:
        raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr(hashlib, "file_digest", silent)
    with pytest.raises(OSError, match="timed out"):
        verify(tmp_path, checkpoint)


@pytest.mark.parametrize("way", ["absolute", "upward", "link", "linked folder", "circle"])
def test_a_path_out_of_the_run_directory_is_refused(tmp_path: Path, way: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    kept = _written(outside, b"weights")
    target = outside / kept.path
    (run / "trials").mkdir(parents=True)
    (run / "link.ckpt").symlink_to(target)
    (run / "trials/0007").symlink_to(outside / "trials/0007")
    (run / "circle.ckpt").symlink_to(run / "circle.ckpt")
    paths = {
        "absolute": str(target),
        "upward": f"../outside/{kept.path}",
        "link": "link.ckpt",
        "linked folder": kept.path,
        "circle": "circle.ckpt",
    }
    with pytest.raises(CheckpointError, match="outside the run directory" if way != "circle" else "is gone"):
        verify(run, replace(kept, path=paths[way]))


def test_a_run_directory_behind_a_link_is_itself(tmp_path: Path) -> None:
    checkpoint = _written(tmp_path / "disk", b"weights")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    assert verify(tmp_path / "run", checkpoint) == tmp_path / "disk" / checkpoint.path


def test_only_dead_segments_temporary_files_are_removed(tmp_path: Path) -> None:
    kept = ["epoch=0001-segment=0.ckpt", ".epoch=0002-segment=2.ckpt.9.tmp", ".epoch=0002-segment=3.ckpt.9.tmp"]
    kept += ["mine.ckpt", ".epoch=0001-segment=0.ckpt.backup.tmp"]
    for name in [*kept, ".epoch=0002-segment=0.ckpt.9.tmp", ".epoch=0002-segment=1.ckpt.123.tmp"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, segment=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "not there", segment=2)


@pytest.mark.slow
def test_a_leftover_has_the_name_that_a_death_in_mid_write_leaves(tmp_path: Path) -> None:
    """A process that dies between write and rename: the real names, not this test's idea of them."""
    code = (
        "import os, pathlib; from orchestrator.durable_files import write_durably;"
        "from orchestrator.training.checkpoint_names import checkpoint_name;"
        "os.fsync = lambda descriptor: os._exit(7);"
        f"write_durably(pathlib.Path({str(tmp_path)!r}) / checkpoint_name(3, 0), b'weights')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path, segment=1)
    assert not list(tmp_path.iterdir())


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


def test_what_cannot_be_pickled_is_refused_by_name(tmp_path: Path) -> None:
    state = {"state_dict": {}, "callbacks": {"Own": {"f": lambda x: x}}}
    with pytest.raises(UsageError, match=r"callbacks.Own.f: .*function.*\n?.*add_safe_globals"):
        DurableCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_objects_of_a_hook_are_kept_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As forecasting libraries do: a loss, or their own classes, among what on_save_checkpoint adds."""
    path, loss = tmp_path / "a.ckpt", nn.SmoothL1Loss(beta=0.25)
    state = {"state_dict": {"w": torch.ones(2)}, "mine": loss, "callbacks": {"Own": {"x": 1}, "Their": {"y": loss}}}
    DurableCheckpointIO().save_checkpoint(state, path)
    assert list(pickled_places(path)) == ["mine", "callbacks.Their"]
    again = DurableCheckpointIO().load_checkpoint(path)
    assert (again["mine"].beta, again["callbacks"]["Their"]["y"].beta) == (0.25, 0.25)
    assert again["callbacks"]["Own"] == {"x": 1}
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "somebody else"))
    with pytest.raises(CheckpointError, match="your key has not signed them"):
        DurableCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize("part", ["orchestrator.pickled", "signature"])
def test_pickled_state_that_was_exchanged_is_not_read(tmp_path: Path, part: str) -> None:
    path = tmp_path / "a.ckpt"
    DurableCheckpointIO().save_checkpoint({"state_dict": {}, "mine": nn.ReLU()}, path)
    content = torch.load(path, weights_only=True)
    content["mine"][part] += b"x" if part == "orchestrator.pickled" else "é"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="has not signed"):
        DurableCheckpointIO().load_checkpoint(path)


def test_a_file_that_holds_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"mine": _Secret()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DurableCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=False)
