"""A function written for Ray Tune as it stands: what it reports to Ray, it reports to the sweep."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ruamel.yaml import YAML

from orchestrator.journal import Event, read
from orchestrator.spec import from_mapping, import_file
from orchestrator.sweep import launch
from tests.support.markers import SLOW_RAY
from tests.support.paths import ROOT
from tests.support.ray_sweeps import sweep

HOME = "tests.support.ray_trainables"
FILE = ROOT / "tests/support/ray_trainables.py"
BASE: dict[str, Any] = {
    "name": "ray",
    "seed": 3,
    "searcher": "random",
    "scheduler": "fifo",
    "objective": {"metric": "loss", "mode": "min"},
    "space": {"lr": {"uniform": [0.1, 0.9]}},
    "budget": {"trials": 6},
}
PROMOTING = {"name": "asha", "grace": 1, "reduction_factor": 2, "promote": True}


def reports(tmp_path: Path, function: str, **fields: Any) -> dict[int, list[tuple[float, dict[str, float]]]]:
    """Return what each trial reported, in order."""
    run = launch(from_mapping({**BASE, "train": f"{HOME}:{function}", **fields}), tmp_path, local=True).run
    found = defaultdict(list)
    for event in read(run.journal):
        if is_report(event):
            found[event["trial"]].append((event.progress, event["metrics"]))
    return found


def test_a_trial_continues_from_the_checkpoint_that_it_gave_to_ray(tmp_path: Path) -> None:
    found = reports(tmp_path, "resuming", scheduler=PROMOTING)
    assert len(found) == 6
    resumed = set()
    for told in found.values():
        rate = 1 - told[0][1]["loss"] / 10
        assert [at for at, _ in told] == list(range(1, len(told) + 1)), "something was repeated"
        assert [metrics["loss"] for _, metrics in told] == pytest.approx([10 * (1 - rate) ** at for at, _ in told])
        resumed |= {metrics["resumed"] for _, metrics in told}
    assert len(resumed) > 1, "no trial was set aside and promoted"


@pytest.mark.parametrize("function", ["with_train", "with_session"])
def test_the_other_names_of_the_function_report_too(function: str, tmp_path: Path) -> None:
    found = reports(tmp_path, function, budget={"trials": 2})
    for told in found.values():
        assert [at for at, _ in told] == [1, 2]
        assert told[1][1]["loss"] == told[0][1]["loss"] / 2


def test_the_callback_for_lightning_reports_what_the_trainer_reports(tmp_path: Path) -> None:
    found = reports(tmp_path, "with_trainer", budget={"trials": 2}, objective={"metric": "val_loss", "mode": "min"})
    assert [[at for at, _ in told] for told in found.values()] == [[1, 2], [1, 2]]


def test_a_metric_of_its_own_is_reported_after_each_of_several_trainings(tmp_path: Path) -> None:
    ((first, second),) = reports(tmp_path, "of_folds", budget={"trials": 1}).values()
    assert (first[0], second[0]) == (1, 2)
    assert second[1]["loss"] - first[1]["loss"] > 0.5


def test_ray_is_itself_after_a_trial(tmp_path: Path) -> None:
    before = tune.report, tune.get_checkpoint
    reports(tmp_path, "resuming", budget={"trials": 1})
    assert (tune.report, tune.get_checkpoint) == before


def test_the_function_of_a_file_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "tuner.py"
    file.write_text(FILE.read_text())
    sections = YAML(typ="safe").load(import_file(file))
    assert (sections["train"], sections["space"]) == ("tuner:resuming", {"lr": {"uniform": [0.1, 0.9]}})
    assert sections["resources"] == {"cpus": 1}
    assert YAML(typ="safe").load(import_file(file, train="other:main"))["train"] == "other:main"
    file.write_text(FILE.read_text().replace("resuming, {", "tune.with_parameters(resuming, data=DATA), {"))
    assert "train" not in YAML(typ="safe").load(import_file(file)), "it takes what only the file builds"


def test_the_metric_that_a_callback_renames_has_the_trainers_name(tmp_path: Path) -> None:
    file = tmp_path / "tuner.py"
    file.write_text(FILE.read_text().replace("with_resources(resuming,", "with_resources(with_trainer,"))
    sections = YAML(typ="safe").load(text := import_file(file))
    assert sections["objective"] == {"metric": "val_loss", "mode": "min"}
    assert sections["train"] == "tuner:with_trainer"
    assert "TuneReportCheckpointCallback calls val_loss loss" in text


@pytest.mark.parametrize("run", ["tuner.fit()", "tune.run(resuming, config={})"])
def test_a_search_that_its_file_runs_when_it_is_imported_is_left_out(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "unguarded_tuner.py"
    file.write_text(f"{FILE.read_text()}\n{run}\nraise AssertionError('it was run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unguarded_tuner", raising=False)
    before = tune.Tuner.fit, tune.run
    described = from_mapping({**YAML(typ="safe").load(import_file(file)), "budget": {"trials": 2}})
    state = launch(described, tmp_path, local=True, preflight=False).state
    assert not [failure.message for trial in state.trials.values() for failure in trial.failures]
    assert [trial.status for trial in state.trials.values()] == ["finished", "finished"]
    assert (tune.Tuner.fit, tune.run) == before


@pytest.mark.usefixtures("nothing_is_left")
class TestUnderRay:
    pytestmark = SLOW_RAY

    def test_a_function_of_ray_trains_as_it_does_locally(self, tmp_path: Path) -> None:
        file = tmp_path / "ray.yaml"
        file.write_text(json.dumps({**BASE, "train": f"{HOME}:resuming", "scheduler": PROMOTING}))
        sweep("launch", str(file), "--name", "remote")
        sweep("launch", str(file), "--name", "here", "--local")
        assert json.loads(sweep("verify", "remote", "--json"))["violations"] == []
        remote, here = (
            [(event["trial"], event.progress, event["metrics"]) for event in read(run_path(name)) if is_report(event)]
            for name in ("remote", "here")
        )
        assert len({(trial, at) for trial, at, _ in remote}) == len(remote), "something was repeated"
        assert any(metrics["resumed"] for _, _, metrics in remote), "no trial was set aside and promoted"
        losses = {(trial, at): metrics["loss"] for trial, at, metrics in here}
        common = [(trial, at) for trial, at, _ in remote if (trial, at) in losses]
        assert len(common) >= 6  # which trials are promoted depends on the order of reports
        assert all(losses[trial, at] == metrics["loss"] for trial, at, metrics in remote if (trial, at) in losses)


def run_path(name: str) -> Path:
    return Path(os.environ["SWEEP_RUNS"]) / name / "journal.jsonl"


def is_report(event: Event) -> bool:
    return event.type == "segment.reported"
