"""Trials of several processes: what they come to is what one process with the same batches comes to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.errors import UsageError
from orchestrator.training import Job, Report, fit
from tests.support.paths import ROOT
from tests.support.sharded import IN_SHARDS


def job(folder: Path, workers: int, **fields: Any) -> Job:
    (folder / "trials/0000").mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "trial": 0,
        "segment": 0,
        "seed": 11,
        "metric": "val_loss",
        "model": {"class_path": "tests.support.member.Told", "init_args": {"learning_rate": 0.05}},
        "data": {
            "class_path": "tests.support.member.Straight",
            "init_args": {"batch_size": 16 // workers},
        },
        "trainer": {"max_epochs": 5, "accelerator": "cpu", "precision": "32-true"},
        "folder": str(folder / "trials/0000"),
        "threads": 1,
        "workers": workers,
    }
    return Job(**{**given, **fields})


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def together(wanted: Job) -> list[dict[str, Any]]:
    """Train in as many processes; what rank 0 reported. The others report nothing."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.member", json.dumps(asdict(wanted))]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(port)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(wanted.workers)
    ]
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * wanted.workers, "".join(b for _, b in said)
    assert [out for out, _ in said[1:]] == [""] * (wanted.workers - 1)
    return [json.loads(line) for line in said[0][0].splitlines() if line.startswith("{")]


def alone(wanted: Job) -> list[Report]:
    found: list[Report] = []

    def report(epoch: Report) -> bool:
        found.append(epoch)
        return epoch.epoch < 3

    fit(wanted, report)
    return found


def weights(folder: Path, checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    loaded = torch.load(folder / checkpoint["path"], weights_only=True)["state_dict"]
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_global_batch(tmp_path: Path) -> None:
    two, one = together(job(tmp_path / "two", 2)), alone(job(tmp_path / "one", 1))
    assert [epoch["epoch"] for epoch in two] == [epoch.epoch for epoch in one] == [1, 2, 3]  # a stop reaches all
    for ours, theirs in zip(two, one, strict=True):
        assert ours["metrics"]["val_loss"] == pytest.approx(theirs.metrics["val_loss"], rel=1e-5)
        assert ours["metrics"]["train_loss"] == pytest.approx(theirs.metrics["train_loss"], rel=1e-5)
        assert ours["metrics"]["rank"] == 0.5  # the mean of both
        assert ours["metrics"]["first"] == 7.0  # of those that have it
        assert theirs.checkpoint
        mine, known = (
            weights(tmp_path / "two", ours["checkpoint"]),
            weights(tmp_path / "one", asdict(theirs.checkpoint)),
        )
        for name in known:
            torch.testing.assert_close(mine[name], known[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_they_go_on_from_a_checkpoint_as_the_unbroken_ones(tmp_path: Path) -> None:
    whole = together(job(tmp_path / "whole", 2))
    first = together(job(tmp_path / "cut", 2, trainer={"max_epochs": 1, "accelerator": "cpu", "precision": "32-true"}))
    rest = together(job(tmp_path / "cut", 2, segment=1, checkpoint=first[-1]["checkpoint"]))
    assert [epoch["epoch"] for epoch in first + rest] == [1, 2, 3]
    mine, known = (weights(tmp_path / name, run[-1]["checkpoint"]) for name, run in (("cut", rest), ("whole", whole)))
    for name in known:
        torch.testing.assert_close(mine[name], known[name], rtol=0, atol=0)


SHARDED: dict[str, Any] = {
    "model": {"class_path": "tests.support.member.Sharded", "init_args": {"learning_rate": 0.05}},
    "trainer": {"max_epochs": 5, "accelerator": "cpu", "precision": "32-true", "strategy": IN_SHARDS},
}


@pytest.mark.slow
def test_shared_out_weights_equal_one_process_and_go_on_from_its_file(tmp_path: Path) -> None:
    """FSDP2, by gloo on CPUs."""
    whole = together(job(tmp_path / "two", 2, **SHARDED))
    one = alone(job(tmp_path / "one", 1, model=SHARDED["model"]))
    shortened = {**SHARDED, "trainer": {**SHARDED["trainer"], "max_epochs": 1}}
    first = together(job(tmp_path / "cut", 2, **shortened))
    rest = together(job(tmp_path / "cut", 2, **SHARDED, segment=1, checkpoint=first[-1]["checkpoint"]))
    assert [epoch["epoch"] for epoch in first + rest] == [epoch.epoch for epoch in one] == [1, 2, 3]
    assert one[-1].checkpoint
    known = weights(tmp_path / "one", asdict(one[-1].checkpoint))
    for run, found in (("two", whole), ("cut", rest)):
        mine = weights(tmp_path / run, found[-1]["checkpoint"])
        assert {type(value) for value in mine.values()} == {torch.Tensor}
        for name in known:
            torch.testing.assert_close(mine[name], known[name], rtol=1e-5, atol=1e-6)


def test_a_process_that_is_told_of_no_others_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 workers needs as many processes, but WORLD_SIZE is not set"):
        fit(job(tmp_path, 2), lambda report: True)
