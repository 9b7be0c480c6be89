"""The examples in docstrings run, those of results on a sweep named quickstart."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.results import dataframes, plot
from tests.support.synthetic_runs import invent


@pytest.mark.parametrize(("module", "least"), [(dataframes, 14), (plot, 4)])
def test_the_examples_of_results_run(
    module: ModuleType, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = invent(tmp_path, 12, renamed={"score": "val_acc", "model.rate": "model.learning_rate"})
    (tmp_path / "runs").mkdir()
    run.root.rename(tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_RUNS", raising=False)
    outcome = doctest.testmod(module)
    assert (outcome.failed, outcome.attempted >= least) == (0, True), capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.parametrize(
    "name",
    [
        "data.cifar10",
        "data.digits",
        "data.mnist",
        "models.autoencoder",
        "models.classifier",
        "models.convnet",
        "training.epoch_seed",
        "training.precision",
        "training.prediction_logger",
    ],
)
def test_the_examples_of_a_module_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(f"orchestrator.{name}"))
    assert (outcome.failed, outcome.attempted > 0) == (0, True), capsys.readouterr().out
