"""`sweep logs` of real sweeps: what trials print is in their logs under every engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

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
