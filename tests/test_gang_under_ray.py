"""Trials of several workers under a real Ray Tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.ray_sweeps import events, rows, said, sweep, written

WORKERS: dict[str, Any] = {
    "model": {"class_path": "tests.support.member.Told", "init_args": {}},
    "data": {"class_path": "tests.support.member.Straight", "init_args": {"batch_size": 8}},
    "trainer": {"max_epochs": 3, "accelerator": "cpu", "precision": "32-true"},
    "scheduler": "fifo",
    "resources": {"cpus": 0.5, "workers": 2, "concurrent": 1},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_trial_trains_in_as_many_processes(where: list[str], tmp_path: Path) -> None:
    trials = 1 if where else 2
    sweep("launch", written(tmp_path, **WORKERS, budget={"trials": trials}), *where)
    assert [row["status"] for row in rows()] == ["finished"] * trials
    reports = [event for event in events() if event["type"] == "segment.reported"]
    assert [(report["trial"], report["epoch"]) for report in reports] == [
        (t, e) for t in range(trials) for e in (1, 2, 3)
    ]
    assert {report["metrics"]["rank"] for report in reports} == {0.5}  # the mean of ranks 0 and 1
    assert {report["metrics"]["first"] for report in reports} == {7.0}
    if not where:  # on a cluster Ray's own ports are open to its hosts
        assert {report["metrics"]["open"] for report in reports} == {0.0}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_lost_worker_costs_an_epoch_and_no_trial(tmp_path: Path) -> None:
    fault = {"fault": "die_once", "marker": str(tmp_path / "died")}
    model = {"class_path": "tests.support.member.Second", "init_args": fault}
    sweep("launch", written(tmp_path, **{**WORKERS, "model": model}, budget={"trials": 1}))
    assert [row["status"] for row in rows()] == ["finished"]
    (failed,) = [event for event in events() if event["type"] == "segment.failed"]
    assert failed["kind"] == "lost", failed
    again = [event for event in events() if event["type"] == "segment.started"][-1]
    assert again["segment"] == 1
    assert again["origin"].endswith("epoch=0001-segment=0.ckpt")


@pytest.mark.slow
@pytest.mark.ray
def test_one_process_is_asked_for_more(tmp_path: Path) -> None:
    sweep("launch", written(tmp_path, **WORKERS, budget={"trials": 1}), "--local", code=2)
    assert "resources.workers asks for more" in said()
    sweep("launch", written(tmp_path, **{**WORKERS, "resources": {"cpus": 1, "workers": 64}}), "--name", "b", code=2)
    assert "for 64 workers" in said()
