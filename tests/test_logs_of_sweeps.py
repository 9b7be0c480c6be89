"""`sweep logs` of real sweeps: what trials print is in their logs under every engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import ray_hosts
from tests.support.ray_sweeps import said, sweep, written
from tests.support.talking import KEY, SAID

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", KEY)


def logs(*options: str) -> list[dict[str, Any]]:
    found = json.loads(sweep("logs", "tiny", "--json", *options))
    assert isinstance(found, list)
    return found


def check_everything_is_there(lines: list[str]) -> None:
    for words in SAID:
        assert any(words in line for line in lines), (words, lines)
    assert lines.count("a print") == 1
    for path in Path(os.environ["SWEEP_RUNS"]).rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.ray
@pytest.mark.parametrize("engine", [["--local"], []], ids=["local", "ray"])
def test_what_trials_say_is_in_their_logs(engine: list[str], tmp_path: Path) -> None:
    model = {"class_path": "tests.support.talking.Talking", "init_args": {}}
    file = written(tmp_path, model=model, data="tests.support.talking.TalkingRows", budget={"trials": 2})
    sweep("launch", file, *engine)
    found = logs("--last", "1000")
    assert [(log["trial"], log["rank"]) for log in found][:2] == [(0, 0), (1, 0)]
    for trial in (0, 1):
        lines = [line for log in found if log["trial"] == trial for line in log["lines"]]
        check_everything_is_there(lines)
        assert "loader 0" in lines
    assert len(logs("--grep", "A PRINT")) == 2
    assert ("a print" in said()) == bool(engine)
    assert "2 of 2 trials warned: a warning (talking.py:" in sweep("status", "tiny")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_each_rank_has_its_log(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "model": {"class_path": "tests.support.talking.TalkingMember", "init_args": {}},
        "data": {"class_path": "tests.support.member.Straight", "init_args": {"batch_size": 8}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "precision": "32-true"},
        "scheduler": "fifo",
        "resources": {"cpus": 0.5, "workers": 2, "concurrent": 1},
    }
    sweep("launch", written(tmp_path, **fields, budget={"trials": 1}))
    first, second = logs("--trial", "0")
    check_everything_is_there(first["lines"])
    assert "rank 0" in first["lines"]
    assert "rank 1" in second["lines"]
    assert (second["rank"], second["file"]) == (1, "trials/0000/logs/segment_0.rank1.log")


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_trials_on_other_hosts_have_their_logs(
    shared: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"class_path": "tests.support.talking.Talking", "init_args": {}}
    with ray_hosts.cluster(shared, tmp_path_factory.mktemp("hosts"), workers=2) as net:
        net.extra_env["SERVICE_API_KEY"] = KEY  # of the driver alone: Ray on the hosts has started without it
        file = ray_hosts.written(
            net,
            "tiny",
            objective={"metric": "val_loss", "mode": "min"},
            model=model,
            data="tests.support.talking.TalkingRows",
            trainer={"max_epochs": 1, "accelerator": "cpu"},
            space={"model.learning_rate": {"log_uniform": [1e-3, 1e-1]}},
            scheduler="fifo",
            budget={"trials": 2},
        )
        driver = ray_hosts.sweep(net, "launch", file)
        assert driver.wait(300) == 0, (net.shared / "launch.log").read_text()
        assert {trial.node for trial in ray_hosts.state(net, "tiny").trials.values()} <= {"w1", "w2"}
        monkeypatch.setenv("SWEEP_RUNS", str(net.shared / "runs"))
        found = logs("--last", "1000")
        for trial in (0, 1):
            check_everything_is_there([line for log in found if log["trial"] == trial for line in log["lines"]])
