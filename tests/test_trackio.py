"""Trackio beside the other trackers, with the real package where it is installed; it is no dependency of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from orchestrator import registry
from orchestrator.errors import UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.sweep import launch
from orchestrator.tracking.trackers import trackio as tracker_module
from orchestrator.tracking.trackers.trackio import Trackio
from orchestrator.tracking.uploader_processes import check
from tests.support.small_sweeps import spec


class Storage:
    """What Trackio does with points: one whose id it has is ignored, and the last config stays."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, dict[str, Any], int]] = {}
        self.configs: dict[str, dict[str, Any]] = {}

    def bulk_log(self, project: str, run: str, metrics: list[Any], *, steps: list[int], timestamps: list[str],
                 config: dict[str, Any], log_ids: list[str], run_id: str) -> None:  # fmt: skip
        assert len(metrics) == len(steps) == len(timestamps) == len(log_ids) == len(set(log_ids))
        for id, values, step in zip(log_ids, metrics, steps, strict=True):
            self.rows.setdefault(id, (run, values, step))
        self.configs[run] = config


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, SweepState]:
    described = spec(budget={"trials": 2}, trainer={"max_epochs": 3}, scheduler="fifo")
    outcome = launch(described, tmp_path_factory.mktemp("runs"), local=True, preflight=False)
    outcome.state.spec["tracking"] = {"trackio": {"project": None, "folder": None}}
    return outcome.run, outcome.state


def test_each_report_is_written_once_however_often_it_is_sent(
    ended: tuple[RunDirectory, SweepState], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, state = ended
    storage = Storage()
    monkeypatch.setattr(tracker_module, "_storage", lambda folder: storage)
    for _ in range(2):  # the second process has not seen what the first sent
        tracker = Trackio(run)
        tracker.follow(state, ended=False)
        tracker.follow(state, ended=True)
        assert tracker.settle()
    reports = [(name, step) for name, values, step in storage.rows.values() if "val_loss" in values]
    assert sorted(reports) == [("tiny-0000", 1), ("tiny-0000", 2), ("tiny-0000", 3),
                               ("tiny-0001", 1), ("tiny-0001", 2), ("tiny-0001", 3)]  # fmt: skip
    about = storage.configs["tiny-0001"]
    assert (about["trial"], about["status"], about["_Group"]) == (1, "finished", "tiny")
    assert about["model.learning_rate"] == state.trials[1].params["model.learning_rate"]


def test_a_failed_write_is_no_success(ended: tuple[RunDirectory, SweepState], monkeypatch: pytest.MonkeyPatch) -> None:
    run, state = ended

    def broken(folder: str | None) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(tracker_module, "_storage", broken)
    tracker = Trackio(run)
    with pytest.raises(OSError, match="full"):
        tracker.follow(state, ended=True)
    assert not tracker.settle()


def test_without_the_package_the_launch_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None)
    assert registry.load("trackers", "trackio") is Trackio
    with pytest.raises(UsageError, match="needs trackio, which is not installed") as error:
        check(spec(tracking={"trackio": True}))
    assert "sweep-orchestrator[trackio]" in error.value.hint


@pytest.mark.slow
def test_the_real_package_has_each_point_once(ended: tuple[RunDirectory, SweepState], tmp_path: Path) -> None:
    if find_spec("trackio") is None:  # not imported here: it takes its folder at the first import
        pytest.skip("trackio is not installed: pip install 'sweep-orchestrator[trackio]'")
    run, state = ended
    state.spec["tracking"]["trackio"]["folder"] = str(tmp_path)
    for _ in range(2):
        tracker = Trackio(run)
        tracker.follow(state, ended=True)
        assert tracker.settle()
    code = (
        "from trackio.sqlite_storage import SQLiteStorage as S\nimport trackio\n"
        "runs = sorted(r.name for r in trackio.Api().runs('tiny'))\nprint(runs)\n"
        "print([log['step'] for log in S.get_logs('tiny', runs[0])])\nprint(S.get_run_config('tiny', runs[1])['trial'])"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    names, steps, trial = said.stdout.splitlines()
    assert names == "['tiny-0000', 'tiny-0001']"
    assert list(dict.fromkeys(json.loads(steps))) == [1, 2, 3]
    assert len(json.loads(steps)) == len(set(_rows_of(state, run)))
    assert trial == "1"


def _rows_of(state: SweepState, run: RunDirectory) -> list[tuple[float, Any]]:
    from orchestrator.tracking.metric_stream import points

    return [(point.progress, point.step if not point.of_report else None)
            for point in points(run, state.trials[0], "val_loss")]  # fmt: skip
