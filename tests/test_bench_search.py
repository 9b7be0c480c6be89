"""The benchmark of searches: every policy on a small table."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search import VARIANTS, Task, load, simulate
from benchmarks.search_policies import POLICIES

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Two tasks of 60 configurations: what two of three parameters say of the end is seen from the first epoch on."""
    rng = np.random.default_rng(0)
    tables: dict[str, Any] = {}
    for name in ("first", "second"):
        params = rng.random((60, 3))
        level = (params[:, 0] - 0.3) ** 2 + (params[:, 1] - 0.6) ** 2
        valid = level[:, None] + 1.0 / np.arange(1, 13) + rng.normal(0, 0.01, (60, 12))
        valid[7, 4:] = math.nan
        tables |= {f"{name}/params": params, f"{name}/valid": valid}
    np.savez(tmp_path / "curves.npz", **tables)
    return tmp_path / "curves.npz"


@pytest.mark.slow
def test_the_command_gives_a_row_for_each_policy(curves: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.search", "--curves", str(curves), "--seeds", "2", "--workers", "1,3"]
    ran = subprocess.run([*command, "--jobs", "1"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(ran.stdout.splitlines()[-1])["results"]
    assert {(row["policy"], row["workers"]) for row in rows} == {(name, count) for name in POLICIES for count in (1, 3)}
    assert all(row["speed_up"] == [1.0, 1.0] for row in rows if row["policy"] == "random")
    assert all(row["never"] == [0.0, 0.0] for row in rows if row["policy"] in ("random", "tpe"))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_takes_each_row_once_and_one_epoch_after_another(curves: Path, name: str) -> None:
    for task in load(curves):
        order = np.random.default_rng(3).permutation(60).tolist()
        watched = Watched(POLICIES[name](task.points, task.epochs, order, 3), task)
        simulate(task, watched, 4)
        assert watched.epochs


class Watched:
    """A policy, and what it was asked for."""

    def __init__(self, policy: Any, task: Task) -> None:
        self.policy, self.task = policy, task
        self.epochs: dict[int, int] = {}
        self.running: set[int] = set()

    def next(self) -> int | None:
        row: int | None = self.policy.next()
        if row is not None:
            assert row not in self.running
            assert self.epochs.get(row, 0) < self.task.epochs
            self.running.add(row)
        return row

    def report(self, row: int, epoch: int, loss: float) -> bool:
        assert epoch == self.epochs.get(row, 0) + 1
        self.epochs[row] = epoch
        on: bool = self.policy.report(row, epoch, loss)
        if not on or epoch == self.task.epochs:
            self.running.discard(row)
        return on


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_what_it_says(curves: Path, variant: str) -> None:
    for plain, changed in zip(load(curves), load(curves, variant), strict=True):
        first, other = (np.array(task.losses)[:, 0] for task in (plain, changed))
        alike = np.corrcoef(first, other)[0, 1]
        assert {"misleading": alike < -0.5, "uninformative": abs(alike) < 0.4}.get(variant, alike > 0.9)
        assert changed.epochs == (9 if variant == "short" else 12)
