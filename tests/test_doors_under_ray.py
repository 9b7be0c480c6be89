"""A function and a script as trials under a real Ray: each judged by its journal, the script beside a local sweep."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.markers import SLOW_RAY
from tests.support.paths import ROOT
from tests.support.ray_sweeps import sweep

pytestmark = [*SLOW_RAY, pytest.mark.usefixtures("nothing_is_left")]

FUNCTION = {
    "train": "tests.support.functions:counts",
    "objective": {"metric": "loss", "mode": "min"},
    "space": {"rate": {"choice": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}},
    "searcher": "grid",  # the best come first, are set aside as the only ones of their rung, and so are promoted later
    "scheduler": {"name": "asha", "grace": 1, "reduction_factor": 2, "promote": True},
    "budget": {"trials": 6},
}
LAST_EPOCH = 4  # of `counts`
SCRIPT = {
    "program": str(ROOT / "tests/support/programs/argparse_trainer.py"),
    "objective": {"metric": "val/loss", "mode": "min"},
    "space": {"learning-rate": {"log_uniform": [1e-3, 1e-1]}},
    "scheduler": "fifo",
    "budget": {"trials": 2},
}


def launched(folder: Path, name: str, fields: dict[str, Any], *options: str) -> list[dict[str, Any]]:
    """Run the sweep to its end, let `sweep verify` judge it, and return its events."""
    common = {"name": name, "seed": 3, "searcher": "random", "resources": {"cpus": 0.5, "concurrent": 2}}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps({**common, **fields}))  # JSON is YAML
    sweep("launch", str(file), *options)
    judged = json.loads(sweep("verify", name, "--json"))
    assert judged["violations"] == []
    journal = Path(os.environ["SWEEP_RUNS"]) / name / "journal.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()]


def reports(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == "segment.reported"]


def test_a_function_is_set_aside_and_promoted_from_its_own_checkpoint(tmp_path: Path) -> None:
    events = launched(tmp_path, "function", FUNCTION)
    places = [(event["trial"], event["epoch"]) for event in reports(events)]
    assert {trial for trial, _ in places} == set(range(6))
    assert len(places) == len(set(places)), "something finished was repeated"
    assert any(epoch == LAST_EPOCH for _, epoch in places)
    promoted = {(event["trial"], event["why"]["rung"]) for event in events if event["type"] == "trial.promoted"}
    went_on = {(event["trial"], event["metrics"]["resumed"]) for event in reports(events) if event["segment"] > 0}
    assert went_on, "no trial was promoted"
    assert went_on == {(trial, rung) for trial, rung in promoted if rung < LAST_EPOCH}


def test_a_script_with_a_trainer_reports_what_it_reports_locally(tmp_path: Path) -> None:
    def told(events: list[dict[str, Any]]) -> list[Any]:
        return sorted((event["trial"], event["epoch"], event["metrics"]) for event in reports(events))

    under_ray = told(launched(tmp_path, "ray", SCRIPT))
    assert [(trial, epoch) for trial, epoch, _ in under_ray] == [(t, e) for t in range(2) for e in range(1, 5)]
    assert under_ray == told(launched(tmp_path, "local", SCRIPT, "--local"))
