"""The sweep under a real Ray Tune, through the command a person types."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.markers import SLOW_RAY
from tests.support.ray_sweeps import (
    events,
    rows,
    said,
    started,
    sweep,
    wait_for,
    written,
)

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.ray
def test_a_sweep_under_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE")
    output = sweep("launch", written(tmp_path))
    assert "best: trial" in output
    found = rows()
    assert sorted(row["trial"] for row in found) == list(range(8))
    assert {row["status"] for row in found} == {"finished", "stopped"}
    assert [row["best"] for row in found] == sorted(row["best"] for row in found)
    assert Path(found[0]["checkpoint"]).is_file()

    told = events()
    workers = {event["metrics"]["pid"] for event in told if event["type"] == "segment.reported"}
    assert len(workers) <= 2, "workers must stay warm from trial to trial"
    ends = [event["trial"] for event in told if event["type"] in ("trial.finished", "trial.stopped", "trial.failed")]
    assert sorted(ends) == list(range(8)), "each trial ends once"
    assert told[-1]["type"] == "sweep.completed"
    assert not (tmp_path / ".ray").exists(), "a local sweep leaves no token in the home directory"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--local"], marks=SLOW_RAY, id="as in one process"),
        pytest.param([], marks=SLOW_RAY, id="as under Ray"),
    ],
)
def test_stopped_by_a_signal_and_resumed_it_ends_as_the_unbroken_one(options: list[str], tmp_path: Path) -> None:
    """A reference sweep (random search, no early stopping): same trials and same weights, however often interrupted."""
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    file = written(tmp_path, scheduler="fifo", model=slow, budget={"trials": 6})
    sweep("launch", file, "--name", "unbroken", *options)
    whole = json.loads(sweep("results", "unbroken", "--json"))

    process = started("launch", file)
    wait_for(lambda: sum(event["type"] == "segment.reported" for event in events()) >= 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, said()
    assert "sweep resume tiny" in said()
    told = json.loads(sweep("status", "tiny", "--json"))
    assert told["status"] == "paused"

    sweep("resume", "tiny")
    cut = rows()
    assert [(r["trial"], r["params"], r["best"], r["epoch"]) for r in cut] == [
        (r["trial"], r["params"], r["best"], r["epoch"]) for r in whole
    ]
    assert max(row["segments"] for row in cut) == 2
    for ours, reference in zip(cut, whole, strict=True):
        assert weights(ours["checkpoint"]) == weights(reference["checkpoint"])


@pytest.mark.slow
@pytest.mark.ray
def test_stop_from_another_shell(tmp_path: Path) -> None:
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    file = written(tmp_path, scheduler="fifo", model=slow, trainer={"max_epochs": 200})
    process = started("launch", file)
    wait_for(lambda: any(event["type"] == "segment.reported" for event in events()), process)
    sweep("resume", "tiny", code=3)
    assert "is held by" in said()
    began = time.monotonic()
    sweep("stop", "tiny")
    assert time.monotonic() - began < 30
    assert process.wait(30) == 0
    sweep("stop", "tiny", code=2)


@pytest.mark.slow
def test_a_process_that_dies_costs_its_trial_nothing(where: list[str], tmp_path: Path) -> None:
    dying = {
        "class_path": "tests.support.tiny.Tiny",
        "init_args": {"fault": "die_once", "marker": str(tmp_path / "died")},
    }
    sweep("launch", written(tmp_path, scheduler="fifo", model=dying, budget={"trials": 3}), *where)
    found = rows()
    assert [row["status"] for row in found] == ["finished"] * 3
    assert sorted(row["segments"] for row in found)[-1] >= 2
    lost = [event for event in events() if event["type"] == "segment.failed"]
    assert [event["kind"] for event in lost] == ["lost"]
    again = next(e for e in events() if e["type"] == "segment.started" and e["segment"] == 1)
    assert again["origin"].endswith("epoch=0001-segment=0.ckpt"), "it goes on from its last checkpoint"


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_driver_loses_nothing_that_finished(tmp_path: Path) -> None:
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    process = started("launch", written(tmp_path, scheduler="fifo", model=slow))
    wait_for(lambda: any(event["type"] == "trial.finished" for event in events()), process)
    process.kill()
    process.wait()
    finished = {event["trial"] for event in events() if event["type"] == "trial.finished"}
    told = json.loads(sweep("status", "tiny", "--json"))
    assert told["status"] == "interrupted"
    assert told["trials"]["running"] == 0
    sweep("resume", "tiny")
    ends = [event["trial"] for event in events() if event["type"] == "trial.finished"]
    assert sorted(ends) == list(range(8)), "each trial ends once"
    again = {event["trial"] for event in events() if event["type"] == "segment.started" and event["lease"] == 2}
    assert not again & finished, "what finished never runs again"


@pytest.mark.slow
@pytest.mark.ray
def test_a_users_error_fails_the_trial_and_keeps_the_worker(tmp_path: Path) -> None:
    space = {"model.fault": {"choice": ["raise", "", "nan"]}}
    sweep("launch", written(tmp_path, space=space, searcher="grid", scheduler="fifo", budget={}, resources={"cpus": 2}))
    found = {row["params"]["model.fault"]: row for row in rows()}
    assert {fault: row["status"] for fault, row in found.items()} == {
        "raise": "failed",
        "": "finished",
        "nan": "stopped",
    }
    assert "the user's own mistake" in found["raise"]["error"]
    assert len({event["metrics"]["pid"] for event in events() if event["type"] == "segment.reported"}) == 1


@pytest.mark.ray
def test_more_than_the_machine_has_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, resources={"cpus": 1000})
    sweep("launch", file, code=2)
    assert "a trial needs 1000 cpus, and this machine has" in said()
    assert not (Path(os.environ["SWEEP_RUNS"]) / "tiny").exists()


def weights(checkpoint: str) -> dict[str, Any]:
    import torch

    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {name: tensor.tolist() for name, tensor in loaded.items()}
