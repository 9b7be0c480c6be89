"""The best checkpoint as a bundle: what is in it, what is refused, and never half a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from test_local import spec as described

from orchestrator.errors import CheckpointError, UsageError
from orchestrator.export import export
from orchestrator.results import Results
from orchestrator.sweep import Outcome, launch
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return launch(described(budget={"trials": 3}), tmp_path_factory.mktemp("runs"), local=True)


def contents(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / name).read_text()) for name in ("config.json", "MANIFEST.json")}


def test_a_bundle_has_the_best_checkpoint_and_says_what_it_is(swept: Outcome, tmp_path: Path) -> None:
    best = Results(swept.run).best()
    folder = export(swept.run.name, swept.run.root.parent, to=tmp_path / "bundle")
    assert {path.name for path in folder.iterdir()} == {"MANIFEST.json", *contents(folder)["MANIFEST.json"]["files"]}
    assert best.checkpoint
    assert (folder / "model.ckpt").read_bytes() == best.checkpoint.read_bytes()
    found = contents(folder)
    assert found["config.json"]["params"] == best.params
    assert (found["config.json"]["trial"], found["config.json"]["epoch"]) == (best.trial, best.epoch)
    for name, said in found["MANIFEST.json"]["files"].items():
        content = (folder / name).read_bytes()
        assert said == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    loaded = Tiny.load_from_checkpoint(folder / "model.ckpt", map_location="cpu", weights_only=True)
    held = torch.load(best.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(loaded.state_dict()[name], held[name]) for name in held)
    assert found["config.json"]["model"]["init_args"]["learning_rate"] == loaded.hparams["learning_rate"]


def test_the_command_prints_where_it_is(swept: Outcome) -> None:
    other = Results(swept.run).rows[1]
    answer = command("export", swept.run.name, "--trial", str(other["trial"]), "--runs", str(swept.run.root.parent))
    assert answer.returncode == 0, answer.stderr
    folder = Path(answer.stdout.strip())
    assert folder == swept.run.root / "export" / f"trial-{other['trial']:04d}-epoch-{other['epoch']}"
    assert contents(folder)["config.json"]["params"] == other["params"]
    again = command("export", swept.run.name, "--trial", str(other["trial"]), "--runs", str(swept.run.root.parent))
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert "Traceback" not in again.stderr


def test_what_cannot_be_exported_is_refused(swept: Outcome, tmp_path: Path) -> None:
    runs = swept.run.root.parent
    with pytest.raises(UsageError, match="no trial 99"):
        export(swept.run.name, runs, trial=99, to=tmp_path / "a")
    with pytest.raises(UsageError, match="no run"):
        export("nothing", runs, to=tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = launch(described(budget={"trials": 1}), tmp_path, local=True).run
    path = Results(run).best().checkpoint
    assert path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not what was written"):
        export(run.name, tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="is gone"):
        export(run.name, tmp_path)
    assert list((run.root / "export").iterdir()) == []


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    spec = described(model="tests.tiny.Heavy", trainer={"max_epochs": 1}, budget={"trials": 1})
    return launch(spec, tmp_path_factory.mktemp("heavy"), local=True)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_signal_while_it_exports_leaves_no_bundle_and_the_next_one_works(heavy: Outcome, number: int) -> None:
    runs = str(heavy.run.root.parent)
    exports = heavy.run.root / "export"
    process = subprocess.Popen([*SWEEP, "export", heavy.run.name, "--runs", runs], cwd=ROOT, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not any(exports.glob(".*.tmp/model.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.001)
    began = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=30)[1].decode()
    assert time.monotonic() - began < 10
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in said
    assert not [path for path in exports.iterdir() if not path.name.startswith(".")], "no half bundle"
    answer = command("export", heavy.run.name, "--runs", runs)
    assert answer.returncode == 0, answer.stderr
    folder = Path(answer.stdout.strip())
    held = contents(folder)["MANIFEST.json"]["files"]["model.ckpt"]["sha256"]
    assert held == hashlib.sha256((folder / "model.ckpt").read_bytes()).hexdigest()
    assert [path.name for path in exports.iterdir()] == [folder.name], "what the killed one left is gone"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


SWEEP = [sys.executable, "-m", "orchestrator"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SWEEP, *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
