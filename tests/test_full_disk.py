"""A disk that is full in mid-training: said as such, nothing torn, and the trial ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.segment_runner import attempt
from orchestrator.training import Job, Report
from orchestrator.training.checkpoints import verify
from orchestrator.training.csv_logger import EpochCSVLogger

PICTURES = {"class_path": "orchestrator.training.ImagePredictionLogger", "init_args": {"num_samples": 4}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "sweep-test", folder], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, left: int = 0) -> Path:
    """Fill the file system but for about ``left`` bytes."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0
    os.truncate(file, file.stat().st_size - left)
    return file


class Small(L.LightningModule):
    """Two layers; a checkpoint is some 230 KB."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 70), nn.ReLU(), nn.Dropout(0.1), nn.Linear(70, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def _job(disk: Path, **trainer: Any) -> Job:
    return Job(
        trial=0,
        segment=0,
        seed=1,
        metric="val_loss",
        model={"class_path": f"{__name__}.Small"},
        data={"class_path": "orchestrator.data.DigitsDataModule", "init_args": {"image_size": 16, "channels": 1}},
        trainer={"max_epochs": 4, "limit_train_batches": 3, "limit_val_batches": 1, "accelerator": "cpu", **trainer},
        folder=str(disk / "run/trials/0000"),
    )


def _run(job: Job, then: Callable[[Report], Any] = lambda report: None) -> tuple[SegmentFailure | None, list[Report]]:
    reports: list[Report] = []

    def report(told: Report) -> bool:
        reports.append(told)
        then(told)
        return True

    return attempt(job, report), reports


def _weights(job: Job, report: Report) -> dict[str, Tensor]:
    assert report.checkpoint is not None
    return dict(torch.load(verify(job.run_directory, report.checkpoint))["state_dict"])


@pytest.mark.parametrize("left", [0, 100_000], ids=["full", "room for half a checkpoint"])
def test_a_trial_that_met_a_full_disk_ends_as_the_unbroken_one(disk: Path, tmp_path: Path, left: int) -> None:
    unbroken, whole = _run(_job(tmp_path / "other"))
    job = _job(disk)

    def fill_at_epoch_2(report: Report) -> None:
        if report.epoch == 2:
            filled.append(fill(disk, left))

    filled: list[Path] = []
    failed, first = _run(job, fill_at_epoch_2)
    assert unbroken is None
    assert failed is not None
    assert (failed.kind, [report.epoch for report in first]) == ("storage", [1, 2]), failed
    names = sorted(path.name for path in job.checkpoints.iterdir())
    assert names == ["epoch=0001-segment=0.ckpt", "epoch=0002-segment=0.ckpt"], "nothing half-written, nothing left"
    assert first[-1].checkpoint is not None
    verify(job.run_directory, first[-1].checkpoint)

    second = replace(job, segment=1, checkpoint=asdict(first[-1].checkpoint))
    still, none = _run(second)
    assert still is not None
    assert (still.kind, none) == ("storage", []), "as long as it is full"
    filled[0].unlink()
    third, rest = _run(replace(second, segment=2))
    assert third is None
    assert [(r.epoch, r.metrics) for r in (*first, *rest)] == [(r.epoch, r.metrics) for r in whole]
    one, other = _weights(job, rest[-1]), _weights(_job(tmp_path / "other"), whole[-1])
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_picture_that_does_not_fit_is_the_storages_fault(disk: Path) -> None:
    job = _job(disk, callbacks=[PICTURES])
    failed, reports = _run(job, lambda report: report.epoch == 1 and fill(disk))
    assert failed is not None
    assert (failed.kind, len(reports)) == ("storage", 1), failed
    assert [path.name for path in (disk / "run").rglob("*.png") if path.stat().st_size > 0] == ["epoch=0001.png"]


def test_a_table_that_does_not_fit_is_the_storages_fault(disk: Path) -> None:
    """The checkpoint is there already: the epoch is not reported, and trained again."""
    job = _job(disk)
    (job.logs / "metrics.csv").parent.mkdir(parents=True)
    (job.logs / "metrics.csv").symlink_to("/dev/full")
    failed, reports = _run(job)
    assert failed is not None
    assert (failed.kind, reports) == ("storage", []), failed
    table = EpochCSVLogger(job.logs)
    table.log_metrics({"a": 1.0}, 0)
    table.finalize("failed")
    with pytest.raises(OSError, match="No space"):
        table.finalize("success")


def test_a_folder_that_is_read_only_is_the_storages_fault(disk: Path) -> None:
    job = _job(disk)

    def lock(report: Report) -> None:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    failed, reports = _run(job, lock)
    assert failed is not None
    assert (failed.kind, len(reports)) == ("storage", 1), failed
    assert reports[0].checkpoint is not None
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    again, rest = _run(replace(job, segment=1, checkpoint=asdict(reports[0].checkpoint)))
    assert again is None
    assert [report.epoch for report in rest] == [2, 3, 4]
