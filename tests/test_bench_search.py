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

from benchmarks.curve_tables import task as task_of
from benchmarks.search import (
    REGRET_REFERENCE,
    REGRET_SHARE,
    VARIANTS,
    Task,
    difference,
    load,
    make_task,
    mean_verdict,
    measure,
    paired,
    regret_verdict,
    saved_regret,
    simulate,
    verdict,
)
from benchmarks.search_policies import POLICIES
from orchestrator.engine.simulator import simulate as simulate_sweep
from tests.support.event_log import spec as described_without_module

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
    (written,) = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    rows = json.loads(written)["results"]
    assert {(row["policy"], row["workers"]) for row in rows} == {(name, count) for name in POLICIES for count in (1, 3)}
    assert all(row["speed_up"] == [1.0, 1.0] for row in rows if row["policy"] == "random")
    assert all(row["never"] == [0.0, 0.0] for row in rows if row["policy"] in ("random", "tpe"))
    assert all(("saved" in row) == (row["policy"] not in ("random", REGRET_REFERENCE)) for row in rows)
    assert "geometric mean of all tables" in ran.stdout
    assert "tables with less regret" in ran.stdout


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
        expected = {"misleading": alike < -0.5, "uninformative": abs(alike) < 0.4, "late": alike < 0.9}
        assert expected.get(variant, alike > 0.9)
        assert changed.epochs == (9 if variant == "short" else 12)


def test_late_rows_come_to_their_own_curve(curves: Path) -> None:
    """The best rows lie behind most of the table at first, and end where they did."""
    for plain, changed in zip(load(curves), load(curves, "late"), strict=True):
        before, after = np.array(plain.losses), np.array(changed.losses)
        assert np.array_equal(before[:, 7:], after[:, 7:], equal_nan=True)
        best = np.argsort(plain.best)[:6]
        places = np.argsort(np.argsort(after[:, 0]))[best]
        assert (places > 0.4 * len(after)).all()


def test_a_sweep_that_trains_all_to_the_end_is_a_table(tmp_path: Path) -> None:
    space = {"model.x": {"log_uniform": [1e-3, 1.0]}, "model.kind": {"choice": ["a", "b"]}, "model.same": {"const": 3}}
    spec = described_without_module(
        "random", "fifo", space=space, trainer={"max_epochs": 6}, budget={"trials": 12},
        objective={"metric": "acc", "mode": "max"},
    )  # fmt: skip

    def curve(params: Any, epoch: float) -> dict[str, float]:
        diverges = epoch >= 4 and params["model.kind"] == "b"
        return {"acc": math.nan if diverges else params["model.x"] + 0.01 * epoch}

    made = simulate_sweep(spec, curve=curve).state
    np.savez_compressed(tmp_path / "made.npz", **task_of("digits", made))  # type: ignore[arg-type]
    (table,) = load(tmp_path / "made.npz")
    losses = np.array(table.losses)
    assert losses.shape == (12, 6)
    assert table.points.shape == (12, 2), "a constant is no parameter"
    for row, trial in zip(losses, made.trials.values(), strict=True):
        assert row[0] == pytest.approx(-trial.params["model.x"] - 0.01, rel=1e-3)
        assert np.isnan(row[3:]).all() == (trial.status == "stopped")
    by_x = np.argsort([trial.params["model.x"] for trial in made.trials.values()])
    assert (np.diff(table.points[by_x, 0]) > 0).all()
    with pytest.raises(SystemExit, match="fewer than two trials"):
        task_of("none", type(made)())


class Listed:
    """The rows in a given order, each to its end."""

    def __init__(self, rows: list[int]) -> None:
        self._rows = iter(rows)

    def next(self) -> int | None:
        return next(self._rows, None)

    def report(self, row: int, epoch: int, loss: float) -> bool:
        return True


def test_the_regret_is_the_mean_of_the_best_so_far_as_a_share_of_the_median_rows() -> None:
    losses = np.array([[5.0, 3.0], [4.0, 2.0], [9.0, 1.0], [8.0, 7.0], [math.nan, 6.0]] * 16)
    task = make_task("a", losses, np.zeros((80, 1)))
    assert task.whole * REGRET_SHARE == 8
    *_, area = simulate(task, Listed([3, 0, 1, 2, *range(4, 80)]), 1)
    best_so_far = [8, 7, 5, 3, 3, 2, 2, 1]  # the best of the table is 1, and 3 that of its median row
    assert area == pytest.approx(sum(min(1, (best - 1) / 2) for best in best_so_far) / 8)


def test_a_policy_that_is_twice_as_fast_in_every_seed_has_a_ratio_without_an_interval() -> None:
    found = paired(np.full((3, 10, 2), math.log(2)))
    assert found["ratio"] == [2.0, 2.0]
    assert found["interval"] == [[2.0, 2.0]] * 2
    assert found["by_task_interval"] == [[[2.0, 2.0]] * 2] * 3


def test_the_interval_holds_the_ratio_and_narrows_with_the_seeds() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for seeds in (20, 2000):
        found = paired(rng.normal(0.3, 1.0, (1, seeds, 2)))
        low, high = found["interval"][0]
        assert low < found["ratio"][0] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_the_verdict_names_the_worst_task_of_all_tables() -> None:
    def row(ratios: list[list[float]], never: float) -> dict[str, Any]:
        intervals = [[[ratio - 0.1, ratio + 0.1] for ratio in task] for task in ratios]
        compared = {"by_task": ratios, "by_task_interval": intervals}
        fields = {"policy": "mine", "workers": 1, "never": [0.0, never], "tasks": ["x", "y"][: len(ratios)]}
        return {**fields, "over asha-promotion": compared}

    tables = [("one.npz", [row([[2.0, 1.5], [1.2, 0.7]], 0.0)]), ("two.npz late", [row([[0.9, 3.0]], 0.25)])]
    (line,) = verdict(tables)
    assert line.split() == ["mine", "1", "25.0%", "0.70", "(0.60", "to", "0.80)", "in", "one.npz", "y,", "best", "0.2%"]


def test_a_mean_over_tables_gives_each_table_the_same_weight() -> None:
    random, key = np.random.default_rng(0), ("mine", 4, "asha-promotion")
    twice, half = (np.full((20, 2), math.log(ratio)) + random.normal(0, 0.01, (20, 2)) for ratio in (8.0, 0.5))
    (line,) = mean_verdict([{key: twice}, {key: half}, {}])
    policy, workers, reference, *said = line.split()
    assert (policy, int(workers), reference) == key
    assert " ".join(said).startswith("best 1.0%: 2.00 (")


def test_seeds_in_parts_are_those_of_one_run(curves: Path) -> None:
    found = [measure(load(curves), {"asha-promotion": 5}, [2], jobs)[0] for jobs in (1, 3)]
    assert [{**row, "seconds": 0} for row in found[0]] == [{**row, "seconds": 0} for row in found[1]]


def test_a_difference_is_of_the_seeds_that_both_have() -> None:
    whole = np.arange(14.0).reshape(7, 2)
    assert np.array_equal(difference(whole[None], whole[None, :5] - 1), np.ones((1, 5, 2)))


def test_the_regret_saved_is_paired_by_seed_and_its_verdict_names_the_worst_table() -> None:
    reference = np.random.default_rng(0).random((2, 40))
    found = saved_regret({REGRET_REFERENCE: reference, "mine": reference - 0.25}, "mine")
    assert found["saved"] == 0.25, "the seeds differ widely, and the pairs do not"
    assert found["saved_interval"] == [0.25, 0.25]
    assert found["saved_by_task"] == [0.25, 0.25]
    assert saved_regret({REGRET_REFERENCE: reference}, REGRET_REFERENCE) == {}
    assert saved_regret({"mine": reference}, "mine") == {}
    worse = saved_regret({REGRET_REFERENCE: reference, "mine": reference + 0.5}, "mine")
    fields = {"policy": "mine", "workers": 16}
    (line,) = regret_verdict([("one.npz", [{**fields, **found}]), ("two.npz late", [{**fields, **worse}])])
    assert " ".join(line.split()) == "mine 16 1 of 2 -0.5000 (-0.5000 to -0.5000) in two.npz late"
