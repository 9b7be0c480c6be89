"""Presets of a sweep file, and all mistakes of a file in one answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.launch_notice import launch_notice
from orchestrator.engine.tune import placement
from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.extras import MissingExtraError
from orchestrator.rundir import RunDirectory
from orchestrator.spec import json_schema, load, shipped
from orchestrator.spec.sweep_file import presets_of
from orchestrator.sweep import launch, preflight
from orchestrator.sweep.preflight import further_problems

HEAD = """objective: {metric: val_loss, mode: min}
model: tests.support.tiny.Tiny
data: tests.support.tiny.TinyData
space: {model.learning_rate: {log_uniform: [1e-3, 1e-1]}}
"""
PRESETS = """budget: {trials: 30}
presets:
  small:
    budget.trials: 4
    trainer.max_epochs: 2
    space.data.batch_size: {choice: [8, 16]}
    model.init_args.pause: 0.0
  wrong:
    budget.trials: 0
    trainer.max_epochs: 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD + PRESETS)
    return path


def places(error: SpecError) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in error.problems]


def test_a_preset_sets_fields_and_set_comes_after_it(file: Path) -> None:
    assert load(file).budget.trials == 30
    small = load(file, ["trainer.max_epochs=3"], preset="small")
    assert (small.budget.trials, small.trainer["max_epochs"]) == (4, 3)
    assert list(small.space) == ["model.learning_rate", "data.batch_size"]
    assert small.model.init_args == {"pause": 0.0}
    assert presets_of(file) == ["small", "wrong"]


def test_a_mistake_in_a_preset_is_at_its_own_line(file: Path) -> None:
    with pytest.raises(SpecError) as error:
        load(file, preset="wrong")
    assert [line for line, _ in places(error.value)] == [13]


@pytest.mark.parametrize(
    ("presets", "chosen", "says", "hint"),
    [
        (PRESETS, "smal", "there is no preset 'smal'", "did you mean small"),
        (PRESETS, "zzz", "there is no preset 'zzz'", "presets here: small, wrong"),
        ("", "small", "there is no preset 'small'", "the file has none"),
        ("presets: [a]\n", None, "`presets` must be a mapping of names", "laptop"),
        ("presets: {small: 3}\n", None, "the preset `small` must be a mapping", "laptop"),
        ("presets: {small: {budget.trials.x: 3}}\nbudget: {trials: 3}\n", "small", "budget.trials is 3", "as a whole"),
    ],
)
def test_what_is_no_preset_is_refused(tmp_path: Path, presets: str, chosen: str | None, says: str, hint: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD + presets)
    with pytest.raises(SpecError) as error:
        load(path, preset=chosen)
    assert says in error.value.problems[0].message
    assert hint in error.value.problems[0].hint
    assert error.value.problems[0].file == str(path)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_preset_of_a_shipped_file_can_be_used(name: str) -> None:
    for preset in presets_of(name):
        assert load(name, preset=preset) != load(name)
    assert "presets" in json_schema()["properties"]


def test_cifar10_has_a_preset_for_a_laptop() -> None:
    assert presets_of("cifar10") == ["laptop"]
    assert load("cifar10", preset="laptop").budget.wall_clock == 720


MANY = """objective: {metric: val_los, mode: min}
model: {class_path: tests.support.tiny.Tiny, init_args: {paus: 1}}
data: tests.support.tiny.NoSuchData
space:
  model.learning_rate: {log_uniform: [1e-3, 1e-1]}
  data.batch_size: {choises: [8]}
resources: {cpus: 4, gpus: 1}
budgets: {trials: 3}
"""


def test_all_mistakes_of_a_file_are_in_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "cpu_count", lambda: 2)
    monkeypatch.setattr("orchestrator.engine.tune.cpu_count", lambda: 2)
    monkeypatch.setattr(placement, "gpu_count", lambda: 0)
    path = tmp_path / "sweep.yaml"
    path.write_text(MANY)
    with pytest.raises(SpecError) as error:
        load(path)
    assert [line for line, _ in places(error.value)] == [6, 8]
    further = [(problem.line, problem.message) for problem in further_problems(error.value)]
    assert [line for line, _ in further] == [2, 3, 7]
    assert "Tiny takes no argument 'paus'" in further[0][1]
    assert "NoSuchData" in further[1][1]
    assert "4 cpus, and this machine has 2 and 1 gpus" in further[2][1]


def test_a_mistake_in_the_objective_hides_no_other_one(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(MANY.replace("metric: val_los", "metrik: val_loss"))
    for _ in range(2):  # one refusal leaves nothing behind for the next
        with pytest.raises(SpecError) as error:
            load(path)
        assert {2, 3} <= {problem.line for problem in further_problems(error.value)}


def test_a_file_that_can_be_read_gets_one_answer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.tune.cpu_count", lambda: 2)
    monkeypatch.setattr(placement, "gpu_count", lambda: 0)

    def missing(spec: Any) -> None:
        raise MissingExtraError(["mlflow"], "`tracking.mlflow`")

    monkeypatch.setattr("orchestrator.tracking.check", missing)
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD + "resources: {cpus: 3}\ntracking: {mlflow: true}\n")
    spec = load(path)
    tried: list[int] = []

    def try_code() -> None:
        tried.append(1)
        raise SpecError([Problem("Tiny never logs it", "log it", ("objective",), line=1)])

    with pytest.raises(SpecError) as error:
        preflight.check(spec, RunDirectory(tmp_path / "run"), local=False, try_code=try_code)
    assert [line for line, _ in places(error.value)] == [1, 5, 6]
    with pytest.raises(MissingExtraError):  # alone it keeps its kind
        preflight.check(spec, RunDirectory(tmp_path / "run"), local=True)
    assert tried == [1]


def test_a_launch_from_python_names_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.tune.cpu_count", lambda: 2)
    path = tmp_path / "sweep.yaml"
    path.write_text(HEAD.replace("tiny.Tiny\n", "tiny.Tin\n") + "resources: {cpus: 3}\n")
    with pytest.raises(UsageError, match=r"(?s):2:.*Tin.*:5:.*needs 3 cpus"):
        launch(load(path), tmp_path / "runs", preflight=False)
    assert not (tmp_path / "runs").exists()


def test_a_long_sweep_is_announced_with_its_presets() -> None:
    text = launch_notice(load("cifar10"), "cifar10", None)
    assert re.fullmatch(
        r"cifar10-litmodel: 64 trials, about \d+ epochs in all, at most 4 h 00 min \(budget.wall_clock\); "
        r"presets: --preset laptop",
        text,
    )
    assert launch_notice(load("cifar10", preset="laptop"), "cifar10", "laptop") == ""
