"""docs/examples/own_module: a user's own classes, swept from YAML and from Python under a real Ray."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

# Each starts a Ray of its own: half a minute on two idle cores, more on busy ones.
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "docs/examples/own_module", tmp_path / "mine"))


def run(*command: str, cwd: Path) -> str:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500, check=False)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return answer.stdout


def ranking(cwd: Path) -> list[dict[str, Any]]:
    rows = json.loads(run(sys.executable, "-m", "orchestrator", "results", "own-module", "--json", cwd=cwd))
    assert isinstance(rows, list)
    return rows


def check(rows: list[dict[str, Any]], trials: int) -> None:
    """The trials are there, the winner learned something, and its checkpoint loads as the user's class."""
    assert len(rows) == trials
    assert rows[0]["best"] < 0.8  # the mean alone gives about 1
    assert set(rows[0]["params"]) == {"model.learning_rate", "model.hidden", "data.batch_size"}
    assert Path(rows[0]["checkpoint"]).is_file()


def test_from_yaml_in_another_folder(folder: Path, tmp_path: Path) -> None:
    smaller = ["--set", "budget.trials=4", "--set", "resources.concurrent=1"]
    run(sys.executable, "-m", "orchestrator", "launch", "mine/sweep.yaml", *smaller, cwd=tmp_path)
    rows = ranking(tmp_path)
    check(rows, 4)
    code = f"from my_model import Regressor; print(Regressor.load_from_checkpoint({rows[0]['checkpoint']!r}).hparams)"
    assert str(rows[0]["params"]["model.hidden"]) in run(sys.executable, "-c", code, cwd=folder)


def test_from_python(folder: Path) -> None:
    output = run(sys.executable, "sweep.py", cwd=folder)
    rows = ranking(folder)
    check(rows, 8)
    assert Path(os.environ["SWEEP_RUNS"], "own-module", "journal.jsonl").is_file()
    assert f"trial={rows[0]['trial']}" in output
