"""What goes along with a job: the user's code, and no more; and what the job looks at when it arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.cluster import code_upload
from orchestrator.cluster.code_upload import collect
from orchestrator.cluster.job_preflight import READY
from orchestrator.cluster.jobs import _entrypoint
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec, load
from orchestrator.training import class_loading

SPEC = "model: shipped_along.Mine\nobjective: {metric: val_loss, mode: min}\nspace: {model.width: {choice: [1, 2]}}\n"
MODULE = """
import lightning as L

class Mine(L.LightningModule):
    def __init__(self, width=1):
        super().__init__()

    def validation_step(self, batch, index):
        self.log("val_loss", 1.0)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module, a sweep file, and what has no business on a cluster."""
    folder = tmp_path / "home"
    for name, text in {
        "shipped_along.py": MODULE,
        "sweep.yaml": SPEC,
        "pack/helper.py": "x = 1\n",
        ".git/config": "secret",
        ".env": "KEY=1",
        "runs/a/journal.jsonl": "{}",
        "data/cifar.bin": "1",
        "venv/pyvenv.cfg": "",
        "venv/lib/x.py": "",
        "__pycache__/a.pyc": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "weights.pt").write_bytes(bytes(code_upload.FILE_LIMIT + 1))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    sys.modules.pop("shipped_along", None)


def sent(spec: SweepSpec, folder: Path) -> tuple[set[str], code_upload.CodeUpload]:
    folder.mkdir()
    roots = class_loading.import_roots(spec)
    assert class_loading.check(spec) == []
    shipment = collect(spec, roots, folder)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}, shipment


def test_the_users_code_goes_along_and_nothing_else(home: Path, tmp_path: Path) -> None:
    spec = load("sweep.yaml", ["name=far"])
    found, shipment = sent(spec, tmp_path / "out")
    assert found == {"sweep.yaml", "shipped_along.py", "pack/helper.py"}
    assert (shipment.files, shipment.large) == (2, ["weights.pt"])
    assert load(tmp_path / "out/sweep.yaml") == spec


def test_a_sweep_of_installed_classes_takes_no_code_along(home: Path, tmp_path: Path) -> None:
    found, shipment = sent(load("quickstart"), tmp_path / "out")
    assert (found, shipment.files) == ({"sweep.yaml"}, 0)


def test_the_sweep_files_own_folder_counts_before_the_working_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "shipped_along.py").write_text("raise RuntimeError('not this one')\n")
    monkeypatch.chdir(other)
    sent(load(home / "sweep.yaml"), tmp_path / "out")
    assert (tmp_path / "out/shipped_along.py").read_text() == MODULE


@pytest.mark.slow
def test_too_much_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_upload, "TOTAL_LIMIT", 10)
    with pytest.raises(UsageError, match="exceeds"):
        sent(load("sweep.yaml"), tmp_path / "out")


def arrived(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "SWEEP_RUNS"} | environment
    command = [sys.executable, "-m", "orchestrator.cluster.job_preflight", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_job_looks_at_versions_and_runs_before_all_else(tmp_path: Path) -> None:
    here = version("sweep-orchestrator")
    assert arrived(here, str(tmp_path / "runs")).stdout == f"{READY} {here}\n"
    assert arrived(here, SWEEP_RUNS=str(tmp_path)).returncode == 0
    other = arrived("9.9.9", str(tmp_path))
    assert other.returncode == 2
    assert f"error: the cluster has sweep-orchestrator {here}, but 9.9.9 submitted the job" in other.stderr
    nowhere = arrived(here)
    assert nowhere.returncode == 2
    assert "no folder of runs is set on the cluster" in nowhere.stderr
    assert arrived(here, "/nowhere/at/all").returncode == 2


@pytest.mark.parametrize("name", ["a b", "$(touch x)", "it's"])
def test_what_a_job_runs_is_what_was_said(name: str, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "<%s>" "$word"; done; echo\n')
    fake.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "SWEEP_PYTHON": str(fake)}
    line = _entrypoint(["resume", name], "/mnt/my runs")
    said = subprocess.run(["sh", "-c", line], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        f"<-m><orchestrator.cluster.job_preflight><{version('sweep-orchestrator')}></mnt/my runs>",
        f"<-m><orchestrator><resume><{name}><--address><auto><--runs></mnt/my runs>",
    ]
