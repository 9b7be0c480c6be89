"""`sweep init`: a first sweep file from a class, which can be launched as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from orchestrator.errors import UsageError
from orchestrator.plan.extremes import Corner
from orchestrator.spec import load
from orchestrator.sweep import launch, sweep_file_draft
from orchestrator.sweep.sweep_file_draft import domain_of, write_draft
from orchestrator.training import Measured
from orchestrator.training.class_loading.argument_types import Argument

MEASURED = Measured(1.5, 10**9, 0, 0, 10**6, 5, {"epochs": 1.5, "metric:val_f1": 3.0, "metric:train_loss": 2.0})


def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_file_draft, "first_configuration", lambda *args: Corner({}, MEASURED))


@pytest.mark.parametrize(
    ("argument", "domain"),
    [
        (Argument("learning_rate", float, False, 0.02), ({"log_uniform": [0.002, 0.2]}, True)),
        (Argument("dropout", float, False, 0.0), ({"uniform": [0.0, 0.5], "step": 0.05}, True)),
        (Argument("weight_decay", float, False, 0.0), ({"log_uniform": [1e-6, 1e-3]}, True)),
        (Argument("gamma", float, False, 0.9), ({"log_uniform": [0.09, 9.0]}, False)),
        (Argument("hidden", int, False, 64), ({"choice": [32, 64, 128]}, True)),
        (Argument("num_layers", int, False, 3), ({"int": [2, 4]}, True)),
        (Argument("optimizer", Literal["adam", "sgd"], False, "adam"), ({"choice": ["adam", "sgd"]}, True)),
        (Argument("bias", bool, False, True), ({"choice": [False, True]}, False)),
        (Argument("num_classes", int, False, 10), None),
        (Argument("name", str, False, "a"), None),
        (Argument("size", int, False, 1), None),
    ],
)
def test_a_domain_follows_from_name_and_default(argument: Argument, domain: Any) -> None:
    assert domain_of(argument) == domain


def test_the_file_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch)
    monkeypatch.chdir(tmp_path)
    draft = write_draft("orchestrator.models.LitModel", "orchestrator.data.DigitsDataModule",
                        ["model.init_args.input_shape=[3, 20, 20]", "trainer.max_epochs=2"])  # fmt: skip
    assert (str(draft.file), draft.seconds) == ("litmodel.yaml", 1.5)
    spec = load("litmodel.yaml")
    assert spec == draft.spec
    assert (spec.objective.metric, spec.objective.mode) == ("val_loss", "min")
    assert spec.model.init_args == {"input_shape": [3, 20, 20]}
    assert spec.trainer == {"max_epochs": 2}
    assert {"model.learning_rate", "model.dropout", "model.optimizer", "data.batch_size"} <= set(spec.space)
    text = draft.file.read_text()
    for said in ("# an epoch took 1.5 s here", "  # model.momentum: {", "resources: auto", "    # num_classes: 10"):
        assert said in text
    with pytest.raises(UsageError, match="exists already"):
        write_draft("orchestrator.models.LitModel", None, [])


def test_what_the_source_does_not_tell_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch)
    monkeypatch.setattr(sweep_file_draft, "logged_names", lambda model: None)
    draft = write_draft("tests.support.tiny.Computed", "tests.support.tiny.TinyData", [], tmp_path / "a.yaml")
    assert (draft.spec.objective.metric, draft.spec.objective.mode) == ("val_f1", "max")
    named = ["objective.metric=val_a", "objective.mode=max"]
    draft = write_draft("tests.support.tiny.Computed", "tests.support.tiny.TinyData", named, tmp_path / "b.yaml")
    assert (draft.spec.objective.metric, draft.spec.objective.mode) == ("val_a", "max")


def test_what_the_class_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch)
    (tmp_path / "needy.py").write_text(
        "import lightning as L\n\nclass Needy(L.LightningModule):\n"
        "    def __init__(self, classes: int, lr: float = 0.1) -> None:\n        super().__init__()\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="Needy has no default for `classes`") as error:
        write_draft("needy.Needy", None, [])
    assert error.value.hint == "--set model.init_args.classes=…"
    monkeypatch.setattr(sweep_file_draft, "_metrics", lambda *args: [])
    with pytest.raises(UsageError, match="logs nothing in validation"):
        write_draft("needy.Needy", None, ["model.init_args.classes=3"])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".yaml"] == []


@pytest.mark.slow
def test_the_file_that_the_command_writes_can_be_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli.sweep_files import init

    monkeypatch.chdir(Path(__file__).parent.parent)
    out = tmp_path / "tiny.yaml"
    init("tests.support.tiny.Tiny", "tests.support.tiny.TinyData", ["trainer.max_epochs=1", "budget.trials=2"], out,
         as_json=True)  # fmt: skip
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    ended = launch(load(out), tmp_path / "runs", local=True)
    assert ended.exit_code == 0
