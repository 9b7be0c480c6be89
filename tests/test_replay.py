"""A bundle's model trained again: identical for every shipped system, through takeovers; and what differs is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.bundle.bundle_manifest import CONFIG, MANIFEST, dump, seal, verify_bundle
from orchestrator.bundle.replay import Replayed, replay
from orchestrator.durable_files import fingerprint
from orchestrator.engine import stop_requests
from orchestrator.export import export
from orchestrator.results import read_state
from orchestrator.results.winner import lineage, winner
from orchestrator.rundir import run_at
from orchestrator.spec import Finalists
from orchestrator.sweep import Outcome, confirm, launch, resume
from tests.support.paths import ROOT
from tests.support.population_sweeps import swept as population
from tests.support.population_sweeps import takeovers
from tests.support.small_sweeps import request
from tests.support.small_sweeps import spec as described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def again(folder: Path) -> Replayed:
    return replay(verify_bundle(folder))


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    outcome = launch(described(budget={"trials": 3}), tmp_path_factory.mktemp("runs"), local=True)
    confirm(outcome.run.name, outcome.run.root.parent, finalists=Finalists(top=1, trials=3), local=True)
    return outcome


@pytest.fixture
def bundle(confirmed: Outcome, tmp_path: Path) -> Path:
    return export(confirmed.run.name, confirmed.run.root.parent, to=tmp_path / "bundle").folder


def changed(bundle: Path, **fields: Any) -> None:
    """Another config.json in the bundle, and a manifest that says so."""
    config = json.loads((bundle / CONFIG).read_bytes()) | fields
    (bundle / CONFIG).write_bytes(dump(config))
    content = json.loads((bundle / MANIFEST).read_bytes())
    del content["sha256"]
    size, sha256 = fingerprint(bundle / CONFIG)
    content["files"][CONFIG] = {"size": size, "sha256": sha256}
    (bundle / MANIFEST).write_bytes(seal(content))


def test_the_confirmed_winner_is_trained_again_to_the_bit(bundle: Path) -> None:
    found = again(bundle)
    assert (found.verdict, found.where) == ("identical", [])
    assert found.objective[0] == found.objective[1]


@pytest.mark.slow
def test_a_winner_whose_end_lies_within_an_epoch_is_trained_again(tmp_path: Path) -> None:
    until = {"progress": {"unit": "samples", "until": 150}, "trainer": {}, "budget": {"trials": 1}}
    outcome = launch(described(searcher="random", scheduler="fifo", **until), tmp_path, local=True)
    best = outcome.state.objective.best(outcome.state.trials[0])
    assert (list(outcome.state.trials[0].reports), best and best.progress) == ([64, 128, 160], 160)
    found = again(export("tiny", tmp_path, to=tmp_path / "bundle").folder)
    assert (found.verdict, found.where) == ("identical", [])


@pytest.mark.slow
def test_nothing_but_the_bundle_is_needed(confirmed: Outcome, tmp_path: Path) -> None:
    runs = tmp_path / "runs" / confirmed.run.name
    shutil.copytree(confirmed.run.root, runs)
    folder = export(confirmed.run.name, tmp_path / "runs", to=tmp_path / "bundle").folder
    shutil.rmtree(tmp_path / "runs")
    asked = [sys.executable, "-m", "orchestrator", "replay", str(folder), "--json"]
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["verdict"] == "identical"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.slow
def test_a_damaged_bundle_is_not_trained_again(bundle: Path) -> None:
    for name in (CONFIG, "model.ckpt", MANIFEST):
        content = (bundle / name).read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 3] ^= 1
        (bundle / name).write_bytes(changed)
        asked = [sys.executable, "-m", "orchestrator", "replay", str(bundle)]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
        assert (answer.returncode, answer.stdout) == (4, "")
        assert name in answer.stderr
        (bundle / name).write_bytes(content)


@pytest.mark.slow
def test_another_seed_differs_and_it_says_where(bundle: Path) -> None:
    stages = json.loads((bundle / CONFIG).read_bytes())["lineage"]
    changed(bundle, lineage=[{**stages[0], "seed": stages[0]["seed"] + 1}])
    found = again(bundle)
    assert found.verdict == "differs"
    assert "val_loss differs from epoch 1 on" in found.where[0]
    assert "tensors differ, most of all layer." in found.where[1]
    asked = [sys.executable, "-m", "orchestrator", "replay", str(bundle), "--trust"]  # it was changed since
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert answer.returncode == 1
    assert answer.stdout.startswith("differs: val_loss")


def test_what_is_off_by_little_is_within_tolerance(bundle: Path) -> None:
    checkpoint = torch.load(bundle / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["layer.weight"] *= 1 + 1e-6
    torch.save(checkpoint, bundle / "model.ckpt")
    content = json.loads((bundle / MANIFEST).read_bytes())
    del content["sha256"]
    size, sha256 = fingerprint(bundle / "model.ckpt")
    content["files"]["model.ckpt"] = {"size": size, "sha256": sha256}
    (bundle / MANIFEST).write_bytes(seal(content))
    found = again(bundle)
    assert found.verdict == "within tolerance"
    assert "1 tensors differ" in found.where[0]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_weights_that_were_taken_over_are_trained_again_by_those_who_trained_them(
    scheduler: str, tmp_path: Path
) -> None:
    outcome = population(tmp_path / "runs", scheduler)
    taken = {event["trial"] for event in takeovers(outcome)}
    kept = [n for n in taken if outcome.state.objective.best(outcome.state.trials[n])]
    stages = 1
    for number in sorted(kept):
        won = winner(outcome.run, outcome.state, number)
        stages = max(stages, len(lineage(won)))
        folder = export(outcome.run.name, tmp_path / "runs", trial=number, to=tmp_path / str(number)).folder
        assert again(folder).verdict == "identical", number
    assert stages > 1


def test_a_trial_that_was_stopped_and_resumed_is_trained_again_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    run = run_at("tiny", tmp_path / "runs")

    def stop(state: Any, event: Any) -> None:
        if event.type == "segment.reported" and event["epoch"] == 2:
            request(run)

    launch(described(budget={"trials": 1}), tmp_path / "runs", local=True, observer=stop)
    while read_state(run).status != "completed":
        resume("tiny", tmp_path / "runs", local=True)
    assert read_state(run).trials[0].segments > 1
    assert again(export("tiny", tmp_path / "runs", to=tmp_path / "bundle").folder).verdict == "identical"
