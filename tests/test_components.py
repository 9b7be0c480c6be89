"""Classes named in a spec: checked without being built, built without losing what jsonargparse would convert."""

from __future__ import annotations

import enum
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pytest
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from orchestrator.errors import Problem, UsageError
from orchestrator.models import Decoder, Encoder, LitAutoEncoder, LitModel
from orchestrator.spec import from_mapping, load
from orchestrator.training.class_loading import build, check, import_class, import_roots, never_logged
from orchestrator.training.class_loading.logged_metrics import is_logged, logged_names

HERE = __name__


class Color(enum.Enum):
    red = "r"
    blue = "b"


class Base(L.LightningModule):
    def __init__(self, width: int = 3, rate: float = 0.1) -> None:
        super().__init__()
        self.width, self.rate = width, rate

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.log("train_loss", 1.0, on_step=True, on_epoch=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"val_loss": 1.0, **{}} if False else {"val_loss": 1.0})


class Everything(Base):
    def __init__(  # type: ignore[no-untyped-def]  # what a user leaves without a type is tested, too
        self,
        encoder: nn.Module,
        size: tuple[int, int] = (1, 2),
        path: Path | None = None,
        color: Color = Color.red,
        optimizer: OptimizerCallable = torch.optim.Adam,
        untyped=3,
        rates: list[float] | None = None,
        layers: list[nn.Module] | None = None,
        kind: Literal["a", "b"] = "a",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder, self.size, self.path, self.color = encoder, size, path, color
        self.optimizer, self.untyped, self.rates, self.layers, self.kind = optimizer, untyped, rates, layers, kind

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"val_loss": 1.0, "val_acc": 1.0})


class Open(L.LightningModule):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


def spec(model: Any = f"{HERE}.Everything", metric: str = "val_acc", **sections: Any) -> Any:
    return from_mapping({"name": "t", "objective": {"metric": metric, "mode": "max"}, "model": model, **sections})


def everything(**arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{HERE}.Everything", "init_args": {"encoder": "torch.nn.ReLU", **arguments}}


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_what_is_right_is_let_be() -> None:
    model = everything(
        size=[3, 4],
        path="a/b",
        color="blue",
        optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        untyped={"any": ["thing"]},
        rates=[1, 0.5],
        layers=[{"class_path": "torch.nn.Linear", "init_args": {"in_features": 3, "out_features": 3}}, "torch.nn.ReLU"],
        kind="b",
        width=4,
    )
    trainer = {
        "precision": "auto",
        "max_time": "00:01:00:00",
        "limit_val_batches": 0.5,
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
        "strategy": {"class_path": "lightning.pytorch.strategies.DDPStrategy"},
    }
    space = {
        "model.rate": {"log_uniform": [1e-3, 1]},
        "model.kind": {"choice": ["a", "b"]},
        "model.width": {"int": [1, 4], "when": {"model.kind": "b"}},
        "trainer.max_epochs": {"const": 3},
        "trainer.callbacks.0.logging_interval": {"choice": ["step", "epoch"]},
    }
    assert [str(problem) for problem in check(spec(model, trainer=trainer, space=space))] == []


def test_shipped_specs_are_right() -> None:
    from orchestrator.spec import shipped

    for name in shipped():
        assert check(load(name)) == [], name


@pytest.mark.parametrize(
    ("arguments", "path", "message", "hint"),
    [
        ({"widht": 3}, ("widht",), "takes no argument 'widht'", "did you mean width?"),
        ({"size": [1]}, ("size",), "must be tuple[int, int], but got [1]", "2 elements"),
        ({"color": "green"}, ("color",), "must be Color", "red"),
        ({"rates": [1, "a"]}, ("rates",), "must be list[float] | None", ""),
        ({"kind": "c"}, ("kind",), "'a' | 'b'", ""),
        ({"width": True}, ("width",), "must be int, but got True (bool)", ""),
        ({"width": 3.0}, ("width",), "must be int, but got 3.0 (float)", ""),
        ({"rate": "0.1"}, ("rate",), "must be float, but got '0.1' (str)", ""),
        ({"layers": ["torch.nn.Lin"]}, ("layers", 0, "class_path"), "torch.nn has no 'Lin'", "torch.nn.Linear?"),
        ({"encoder": {"class_path": "pathlib.Path"}}, ("encoder", "class_path"), "is not a Module", "subclass"),
        ({"encoder": {"hidden": 3}}, ("encoder",), "a Module is needed", "encoder.class_path"),
        ({"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lrr": 1}}}, ("optimizer",), "must be", "lrr"),
    ],
)
def test_an_argument_that_the_class_does_not_take(
    arguments: dict[str, Any], path: tuple[str | int, ...], message: str, hint: str
) -> None:
    problem = only(check(spec(everything(**arguments))))
    assert problem.path == ("model", "init_args", *path)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.hint


def test_a_missing_argument_may_come_from_the_space() -> None:
    model = {"class_path": f"{HERE}.Everything", "init_args": {}}
    assert "needs the argument `encoder`" in only(check(spec(model))).message
    space = {"model.encoder": {"choice": ["torch.nn.ReLU", {"class_path": "torch.nn.Identity"}]}}
    assert check(spec(model, space=space)) == []


def test_nested_arguments_are_swept_by_name() -> None:
    space: dict[str, Any] = {
        "model.encoder.hidden": {"int": [8, 64]},
        "model.decoder.init_args.hidden": {"choice": [8, 64]},
    }
    auto = "orchestrator.models.LitAutoEncoder"
    assert check(spec(auto, "val_loss", space=space)) == []  # the annotations name the classes
    space = {"model.encoder.hiden": {"int": [8, 64]}, "model.decoder.hidden": {"choice": [8, "x"]}}
    found = check(spec(auto, "val_loss", space=space))
    assert [problem.path for problem in found] == [("space", "model.encoder.hiden"), ("space", "model.decoder.hidden")]
    assert found[0].hint == "did you mean hidden?"
    assert "must be int, but got 'x'" in found[1].message


def test_each_choice_of_a_class_is_checked_with_its_own_arguments() -> None:
    choice = {"choice": ["torch.nn.Softmax", "torch.nn.ReLU"]}
    space = {
        "model.encoder": choice,
        "model.encoder.dim": {"const": 1, "when": {"model.encoder": "torch.nn.Softmax"}},
        "model.encoder.inplace": {"const": "yes", "when": {"model.encoder": "torch.nn.ReLU"}},
    }
    problem = only(check(spec(space=space)))
    assert problem.path == ("space", "model.encoder.inplace")
    assert "must be bool" in problem.message


@pytest.mark.parametrize(
    ("trainer", "message", "hint"),
    [
        ({"max_epoch": 3}, "Trainer takes no argument 'max_epoch'", "did you mean max_epochs?"),
        ({"max_epochs": 0}, "`max_epochs >= 1` must hold", "epoch"),
        ({"max_epochs": 1, "max_steps": 0}, "`max_steps >= 1` must hold", "step"),
        ({"max_epochs": 1, "limit_train_batches": 0.0}, "`limit_train_batches > 0` must hold", "batch"),
        ({"max_time": "00:00:00:00"}, "`max_time` must be above zero", "00:01:30:00"),
        (
            {"max_steps": 9, "check_val_every_n_epoch": None, "val_check_interval": 0.5},
            "`val_check_interval` must be a number of batches or a time, but got 0.5",
            "val_check_interval: 500",
        ),
        ({"default_root_dir": "x"}, "`default_root_dir` cannot be set", "the sweep sets it"),
        ({"enable_checkpointing": False}, "`enable_checkpointing` cannot be set", "the sweep sets it"),
        ({"enable_progress_bar": False}, "`enable_progress_bar` cannot be set", "the sweep sets it"),
        ({"fast_dev_run": True}, "`fast_dev_run` cannot be set", "limit_train_batches"),
        ({"precision": "17-mixed"}, "Trainer's `precision` must be", ""),
        ({"callbacks": ["torch.nn.ReLU"]}, "torch.nn.ReLU is not a Callback", "subclass of Callback"),
        ({"callbacks": ["nowhere.Callback"]}, "no module 'nowhere'", ""),
    ],
)
def test_trainer_arguments_are_the_trainers(trainer: dict[str, Any], message: str, hint: str) -> None:
    problem = only(check(spec(everything(), trainer=trainer)))
    assert message in problem.message
    assert hint in problem.hint
    assert check(spec(everything(), trainer={"fast_dev_run": False})) == []


def test_a_class_that_keeps_its_keywords_takes_any() -> None:
    assert check(spec({"class_path": f"{HERE}.Open", "init_args": {"anything": 3}}, "loss", trainer={})) == []
    built = build(
        {"class_path": f"{HERE}.Open", "init_args": {"anything": 3, "module": {"class_path": "torch.nn.ReLU"}}}
    )
    assert built.options["anything"] == 3
    assert isinstance(built.options["module"], nn.ReLU)


def test_importing_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_early.py").write_text("x = 1\nraise SystemExit(3)\n")
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "does_not_parse.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for class_path, message in [
        ("breaks_early.Model", r"importing breaks_early failed at .*breaks_early.py:2: SystemExit: 3"),
        ("needs_more.Model", r"importing needs_more failed at .*needs_more.py:1: ModuleNotFoundError: No module"),
        ("does_not_parse.Model", r"importing does_not_parse failed at .*does_not_parse.py:1: SyntaxError"),
        ("orchestrator.modls.LitModel", r"orchestrator has no 'modls'"),
        ("math.sin", "math.sin is not a class"),
        ("torch.nn.Linear.Inner", "torch.nn.Linear has no 'Inner'"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            import_class(class_path)
        assert caught.value.hint
    assert import_class("orchestrator.models.LitModel") is LitModel


def test_a_module_beside_the_sweep_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_spec.py").write_text(
        "import lightning as L\nclass Net(L.LightningModule):\n"
        "    def __init__(self, width: int = 3):\n        super().__init__()\n"
        "    def validation_step(self, b, i):\n        self.log('val_acc', 1.0)\n"
    )
    file = tmp_path / "my.yaml"
    file.write_text("objective: {metric: val_acc, mode: max}\nmodel: beside_the_spec.Net\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    mine = load(file)
    assert import_roots(mine) == [str(tmp_path), str(Path.cwd())]
    assert check(mine) == []
    assert import_roots(load("quickstart")) == [str(Path.cwd())]
    (tmp_path / "journal.jsonl").touch()  # a run directory: nothing in it is imported
    assert import_roots(mine) == [str(Path.cwd())]


class WithHelper(L.LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        log_all(self, "train")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(super().parameters())


def log_all(module: L.LightningModule, stage: str) -> None:
    module.log(f"{stage}_loss", 1.0)


class WithVariable(L.LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        for name in ["a", "b"]:
            self.log(name, 1.0)


class HandsItselfOut(L.LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.step(self)  # type: ignore[operator]


class Renames(L.LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        log = self.log
        log("hidden", 1.0)


def test_metrics_are_read_off_the_source_or_not_guessed() -> None:
    assert logged_names(WithHelper) == ("*_loss",)
    assert logged_names(WithVariable) is None
    assert logged_names(HandsItselfOut) is None
    assert logged_names(Renames) is None
    assert (
        set(logged_names(Everything) or ()) >= {"val_loss", "val_acc", "train_loss"} or logged_names(Everything) is None
    )
    assert set(logged_names(LitModel) or ()) == {"*_loss", "*_acc"}
    names = ["train_loss", "*_acc"]
    for metric in ["train_loss", "train_loss_epoch", "train_loss_step", "val_acc", "val_acc/dataloader_idx_1"]:
        assert is_logged(metric, names), metric
    assert not is_logged("train_los", names)
    assert not is_logged("val_accuracy", names)


def test_an_objective_that_seems_never_logged_is_suspected_not_refused() -> None:
    model = "orchestrator.models.LitModel"
    assert check(spec(model, metric="val_accuracy")) == []
    problem = only(never_logged(spec(model, metric="val_accuracy")))
    assert problem.path == ("objective", "metric")
    assert problem.message == "LitModel never logs 'val_accuracy'"
    assert never_logged(spec(model, metric="val_acc_epoch")) == []
    assert never_logged(spec(f"{HERE}.WithVariable", metric="anything")) == []
    own_callback = {"callbacks": [f"{HERE}.OwnCallback"]}
    assert never_logged(spec(model, metric="val_accuracy", trainer=own_callback)) == []  # it may log as well


class OwnCallback(L.Callback):
    pass


def test_what_is_built_is_what_jsonargparse_would_convert() -> None:
    model = build(
        everything(
            size=[3, 4],
            path="a/b",
            color="blue",
            optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}},
            rates=[1, 2],
            layers=[{"class_path": "torch.nn.ReLU"}, "torch.nn.Tanh"],
            width=5,
            rate=1,
        )
    )
    assert isinstance(model.encoder, nn.ReLU)
    assert (model.size, model.path, model.color) == ((3, 4), Path("a/b"), Color.blue)
    assert [type(layer) for layer in model.layers] == [nn.ReLU, nn.Tanh]
    assert [type(rate) for rate in (*model.rates, model.rate)] == [float] * 3
    assert model.width == 5
    optimizer = model.optimizer([nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_weights_are_those_of_plain_python_whatever_the_order_in_the_file() -> None:
    torch.manual_seed(3)
    plain = LitAutoEncoder(Encoder(hidden=16), Decoder(hidden=16))
    arguments = {"decoder": {"hidden": 16}, "learning_rate": 1e-3, "encoder": {"hidden": 16}}
    torch.manual_seed(3)
    built = build({"class_path": "orchestrator.models.LitAutoEncoder", "init_args": arguments})
    for ours, theirs in zip(built.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_building_costs_less_than_three_milliseconds() -> None:
    described = {
        "class_path": "orchestrator.models.LitAutoEncoder",
        "init_args": {"encoder": {"hidden": 8}, "decoder": {"class_path": "orchestrator.models.Decoder"}},
    }
    build(described)

    def median(function: Any) -> float:
        times = []
        for _ in range(30):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    assert median(lambda: build(described)) - median(lambda: LitAutoEncoder(Encoder(hidden=8), Decoder())) < 3e-3
