"""The heartbeat that a segment sends while it completes batches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.engine.segment_runner import attempt
from orchestrator.training import Job, Report
from orchestrator.training.shared_storage import Heartbeat, touch
from tests.support.small_sweeps import tiny_job

LONG_AGO = (1, 1)


def test_it_is_there_before_anything_is_built(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, no_such_argument=1)
    assert attempt(job, lambda report: True) is not None
    assert job.heartbeat == tmp_path / "run/trials/0000/progress"
    assert job.heartbeat.stat().st_size == 0


@pytest.mark.parametrize("batches", ["training", "validation"])
def test_batches_move_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: str) -> None:
    """Each kind of batch alone does: the file is set back where the other kind is done."""
    monkeypatch.setattr("orchestrator.training.shared_storage.HEARTBEAT_SECONDS", 0.0)
    job = tiny_job(tmp_path)
    seen: list[bool] = []

    def report(told: Report) -> bool:
        seen.append(job.heartbeat.stat().st_mtime > 1)
        os.utime(job.heartbeat, LONG_AGO)
        return True

    if batches == "training":
        job.trainer["limit_val_batches"] = 0
        job = Job(**{**vars(job), "metric": "train_loss"})
    else:
        from tests.support.tiny import Tiny

        monkeypatch.setattr(Tiny, "on_validation_start", lambda self: os.utime(job.heartbeat, LONG_AGO), raising=False)
    assert attempt(job, report) is None
    assert seen == [True, True]


def test_it_is_touched_every_few_seconds_at_most(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    heartbeat = Heartbeat(lambda: touch(path), every=0.2)
    heartbeat.beat()
    assert path.exists()
    os.utime(path, LONG_AGO)
    heartbeat.beat()
    assert path.stat().st_mtime == 1
    time.sleep(0.25)
    heartbeat.beat()
    assert path.stat().st_mtime > 1


def test_storage_that_fails_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    touch(tmp_path / "file/progress")
    touch(Path("/proc/nothing/progress"))


def test_a_batch_costs_less_than_a_microsecond(tmp_path: Path) -> None:
    heartbeat = Heartbeat(lambda: touch(tmp_path / "progress"))
    heartbeat.beat()
    rounds = 100_000
    best = min(_seconds(heartbeat, rounds) for _ in range(5)) / rounds
    print(f"progress: {best * 1e9:.0f} ns a batch")
    assert best < 1e-6


def _seconds(heartbeat: Heartbeat, rounds: int) -> float:
    start = time.perf_counter()
    for _ in range(rounds):
        heartbeat.beat()
    return time.perf_counter() - start
