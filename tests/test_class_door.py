"""What a sweep file may say of model and data: LightningCLI's forms, Hydra's, functions, loaders, references."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import orchestrator
from orchestrator.errors import SpecError, UsageError
from orchestrator.spec import SweepSpec, apply, from_mapping
from orchestrator.training.class_loading import build, build_data, build_parts, check, with_full_paths
from orchestrator.training.class_loading.loaders_data import LoadersData
from tests.support.class_door import BUILT, Whole
from tests.support.paths import ROOT

HERE = "tests.support.class_door"


def spec(**sections: Any) -> SweepSpec:
    common = {"name": "door", "objective": {"metric": "val_loss", "mode": "min"}, "model": f"{HERE}.Whole"}
    return from_mapping({**common, **sections})


def parts(full: SweepSpec, params: dict[str, Any] | None = None) -> tuple[Any, Any]:
    assert check(full) == []
    model, data, _ = apply(with_full_paths(full), params or {})
    return build_parts(model.model_dump(), data.model_dump() if data else None)


def only_problem(**sections: Any) -> Any:
    try:
        problems = check(spec(**sections))
    except SpecError as error:
        problems = list(error.problems)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    ("section", "written", "full"),
    [
        ("data", "LineData", f"{HERE}.LineData"),
        ("optimizer", "Adam", "torch.optim.Adam"),
        ("optimizer", {"class_path": "RAdam", "init_args": {"lr": 0.1}}, "torch.optim.RAdam"),
        ("model", "Bare", f"{HERE}.Bare"),
    ],
)
def test_a_class_may_be_named_alone(section: str, written: Any, full: str) -> None:
    other = {"data": f"{HERE}.LineData"} if section != "data" else {}
    assert getattr(with_full_paths(spec(**{**other, section: written})), section).class_path == full


def test_callbacks_schedulers_and_nested_classes_may_be_named_alone() -> None:
    callbacks = [{"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss"}}, "Own", "LearningRateMonitor"]
    full = with_full_paths(
        spec(
            model={"class_path": f"{HERE}.Bare", "init_args": {"net": {"class_path": "Linear", "init_args": {
                "in_features": 2, "out_features": 1}}}},
            optimizer={"class_path": "SGD", "init_args": {"lr": 0.1}},
            lr_scheduler={"class_path": "ReduceLROnPlateau", "init_args": {"monitor": "val_loss"}},
            trainer={"callbacks": callbacks, "max_epochs": 1, "logger": {
                "class_path": "CSVLogger", "init_args": {"save_dir": "x"}}},
        )
    )  # fmt: skip
    assert [each["class_path"] for each in full.trainer["callbacks"]] == [
        "lightning.pytorch.callbacks.EarlyStopping",
        f"{HERE}.Own",
        "lightning.pytorch.callbacks.LearningRateMonitor",
    ]
    assert full.lr_scheduler is not None
    assert full.lr_scheduler.class_path == "lightning.pytorch.cli.ReduceLROnPlateau"
    assert full.model.init_args["net"]["class_path"] == "torch.nn.Linear"
    assert full.trainer["logger"]["class_path"] == "lightning.pytorch.loggers.CSVLogger"
    assert check(full) == []


def test_a_name_that_no_class_has_is_refused_with_the_nearest() -> None:
    callback = {"class_path": "EarlyStoping", "init_args": {"monitor": "val_loss"}}
    problem = only_problem(trainer={"max_epochs": 1, "callbacks": [callback]})
    assert "no Callback is named EarlyStoping" in problem.message
    assert problem.hint == "did you mean EarlyStopping?"
    assert problem.path == ("trainer", "callbacks", 0, "class_path")


def test_optimizer_sections_are_swept_and_used() -> None:
    written = spec(
        model=f"{HERE}.Bare",
        data=f"{HERE}.LineData",
        optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
        lr_scheduler={"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2}},
        space={"optimizer.lr": {"log_uniform": [1e-3, 1e-1]}, "lr_scheduler.gamma": {"uniform": [0.1, 0.9]}},
    )
    module, _ = parts(written, {"optimizer.lr": 0.05, "lr_scheduler.gamma": 0.3})
    [optimizer], [scheduler] = module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["initial_lr"] == 0.05
    assert (scheduler.step_size, scheduler.gamma) == (2, 0.3)


def test_a_plateau_monitors_its_metric_and_frozen_weights_are_left_out() -> None:
    plateau = {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"monitor": "val_loss"}}
    module, _ = parts(spec(model=f"{HERE}.Bare", optimizer="torch.optim.SGD", lr_scheduler=plateau))
    module.net[0].requires_grad_(False)
    configured = module.configure_optimizers()
    assert configured["lr_scheduler"]["monitor"] == "val_loss"
    assert len(configured["optimizer"].param_groups[0]["params"]) == 2


def test_wrong_optimizer_sections_are_refused() -> None:
    assert "takes no argument 'lrr'" in only_problem(optimizer={"class_path": "torch.optim.SGD", "init_args": {
        "lrr": 1}}).message  # fmt: skip
    assert "is not a Optimizer" in only_problem(optimizer="torch.nn.Linear").message
    assert "needs an `optimizer`" in only_problem(lr_scheduler={"class_path": "torch.optim.lr_scheduler.StepLR",
                                                                "init_args": {"step_size": 1}}).message  # fmt: skip
    assert "there is no `optimizer`" in only_problem(space={"optimizer.lr": {"uniform": [0.1, 1.0]}}).message


def test_references_get_the_trials_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT", "gelu")
    monkeypatch.delenv("NO_WIDTH", raising=False)
    written = spec(
        model={"class_path": f"{HERE}.Bare", "init_args": {
            "hidden": "${data.init_args.batch_size}", "act": "${oc.env:ACT}"}},
        data={"class_path": f"{HERE}.LineData", "init_args": {"batch_size": 32}, "dict_kwargs": {
            "note": "b${data.batch_size}-e${trainer.max_epochs}-s${seed_everything}", "width": "${oc.env:NO_WIDTH,7}"}},
        seed=5, trainer={"max_epochs": 3}, space={"data.batch_size": {"choice": [4, 8]}},
    )  # fmt: skip
    module, data = parts(written, {"data.batch_size": 8})
    assert (module.hidden, module.act, data.batch_size) == (8, "gelu", 8)
    assert data.kwargs == {"note": "b8-e3-s5", "width": 7}


def test_a_reference_to_an_attribute_is_resolved_once_the_data_are_built() -> None:
    written = spec(model={"class_path": f"{HERE}.Bare", "init_args": {"hidden": "${data.num_features}"}},
                   data=f"{HERE}.LineData")  # fmt: skip
    BUILT.clear()
    module, _ = parts(written)
    assert module.hidden == 2
    assert BUILT.count("LineData") == 1
    model, _, _ = apply(written, {})
    assert build(model.model_dump()).hidden == 2  # alone, as a bundle is loaded
    wrong = spec(model={"class_path": f"{HERE}.Bare", "init_args": {"hidden": "${data.num_classes}"}},
                 data=f"{HERE}.LineData")  # fmt: skip
    with pytest.raises(UsageError, match=r"\$\{data.num_classes\}: LineData has no attribute 'num_classes'"):
        parts(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${oc.env:NOT_SET_ANYWHERE}", "no variable 'NOT_SET_ANYWHERE'"),
        ("${now:%Y}", "the resolver in"),
        ("${nothing.here}", "names nothing in this file"),
        ("${model.hiden}", "names nothing in this file"),
        ("${data.${model.act}}", "a reference inside a reference"),
        ("${objects.x}", "names nothing in this file"),
    ],
)
def test_a_reference_to_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match="hint") as raised:
        spec(model={"class_path": f"{HERE}.Bare", "init_args": {"act": text}})
    assert message in str(raised.value)


def test_a_reference_to_itself_is_refused() -> None:
    with pytest.raises(SpecError, match="refers to itself"):
        check(spec(model={"class_path": f"{HERE}.Bare", "init_args": {"act": "${model.act}"}}))


def test_kwargs_are_passed_and_swept() -> None:
    data = {"class_path": f"{HERE}.LineData", "init_args": {"batch_size": 4}, "dict_kwargs": {"root": "a"}}
    _, built = parts(spec(data=data, space={"data.root": {"choice": ["b", "c"]}}), {"data.root": "c"})
    assert (built.batch_size, built.kwargs) == (4, {"root": "c"})
    problem = only_problem(model={"class_path": f"{HERE}.Bare", "dict_kwargs": {"root": 1}})
    assert "takes no **kwargs" in problem.message


@pytest.mark.parametrize("table", [{"8": 128}, {8: 128}, {"-1": 0, "2": 3}])
def test_keys_get_the_type_that_the_argument_has(table: dict[Any, int]) -> None:
    module, _ = parts(spec(model={"class_path": f"{HERE}.Whole", "init_args": {"table": table}}))
    assert module.table == {int(key): value for key, value in table.items()}
    assert all(type(key) is int for key in module.table)


@pytest.mark.parametrize("table", [{"a": 1}, {2: "b"}, {1.5: 2}])
def test_keys_of_another_type_are_refused(table: dict[Any, Any]) -> None:
    problem = only_problem(model={"class_path": f"{HERE}.Whole", "init_args": {"table": table}})
    assert "must be dict[int, int] | None" in problem.message


def test_functions_and_classmethods_make_models() -> None:
    module, data = parts(
        spec(model={"class_path": f"{HERE}.make_model", "init_args": {"hidden": 3}}, data=f"{HERE}.make_loaders")
    )
    assert isinstance(module, Whole)
    assert module.hidden == 3
    assert isinstance(data, LoadersData)
    assert len(data.train_dataloader()) == 2
    module, _ = parts(spec(model={"class_path": f"{HERE}.unannotated", "init_args": {"hidden": 4}}))
    assert module.hidden == 4
    assert "takes no argument 'hiden'" in only_problem(model={"class_path": f"{HERE}.make_model", "init_args": {
        "hiden": 3}}).message  # fmt: skip
    assert "returns a int, not a LightningModule" in only_problem(model=f"{HERE}.no_model").message
    with pytest.raises(UsageError, match="returned a Sequential, not a LightningModule") as raised:
        parts(spec(model=f"{HERE}.make_net"))  # its annotation, nn.Module, leaves that open
    assert "has no training_step" in str(raised.value.hint)
    assert "standard library" in only_problem(model="os.getcwd").message


def test_a_network_by_a_function_is_an_argument() -> None:
    net = {"class_path": f"{HERE}.make_net", "init_args": {"hidden": 3}}
    module, _ = parts(spec(model={"class_path": f"{HERE}.Bare", "init_args": {"net": net}},
                           space={"model.net.hidden": {"choice": [5, 6]}}), {"model.net.hidden": 5})  # fmt: skip
    assert module.net[0].out_features == 5


def test_objects_are_built_once_for_model_and_data() -> None:
    written = spec(
        objects={"points": f"{HERE}.points"},
        model={"class_path": f"{HERE}.Whole.from_dataset", "init_args": {"dataset": "${objects.points}"}},
        data={"train": "${objects.points}", "val": "${objects.points}", "batch_size": 8},
        space={"data.batch_size": {"choice": [8, 16]}},
    )
    BUILT.clear()
    module, data = parts(written, {"data.batch_size": 16})
    assert BUILT == ["points"]
    assert module.data is data.train_dataloader().dataset
    assert data.train_dataloader().batch_size == 16
    model, _, _ = apply(written, {})
    assert isinstance(build(model.model_dump()), Whole)


def test_loaders_and_datasets_are_data() -> None:
    data = build_data({"class_path": f"{HERE}.points"})
    assert len(data.train_dataloader()) == 32
    from lightning.pytorch.utilities.model_helpers import is_overridden

    assert not is_overridden("val_dataloader", data)
    with pytest.raises(UsageError, match="returned int, which is no data"):
        build_data({"class_path": f"{HERE}.no_model"})


def test_hydras_form_is_read_with_partials() -> None:
    optimizer = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.01, "betas": [0.8, 0.9]}
    written = spec(model={"_target_": f"{HERE}.Partial", "optimizer": optimizer},
                   space={"model.optimizer.lr": {"uniform": [0.01, 0.1]}})  # fmt: skip
    module, _ = parts(written, {"model.optimizer.lr": 0.05})
    made = module.configure_optimizers()
    assert type(made) is torch.optim.AdamW
    assert made.param_groups[0]["lr"] == 0.05
    again = SweepSpec.model_validate(written.model_dump(mode="json"))
    assert again == written


def test_hooks_and_arguments_of_earlier_lightning_are_refused_with_todays() -> None:
    problem = only_problem(model=f"{HERE}.OldHooks")
    assert "training_epoch_end" in problem.message
    assert "on_train_epoch_end" in problem.hint
    for name, value, hint in (
        ("gpus", 2, "accelerator: gpu, devices: 2"),
        ("gpus", -1, "accelerator: gpu, devices: auto"),
        ("gpus", 0, "accelerator: cpu"),
        ("tpu_cores", 8, "accelerator: tpu, devices: 8"),
        ("distributed_backend", "ddp", "strategy: ddp"),
        ("val_percent_check", 0.5, "limit_val_batches: 0.5"),
    ):
        problem = only_problem(trainer={"max_epochs": 1, name: value})
        assert problem.path == ("trainer", name)
        assert hint in problem.hint


def test_earlier_records_have_no_new_sections() -> None:
    recorded = spec(data=f"{HERE}.LineData").model_dump(mode="json")
    assert not {"optimizer", "lr_scheduler", "objects"} & recorded.keys()
    assert recorded["model"] == {"class_path": f"{HERE}.Whole", "init_args": {}}


@pytest.mark.slow
def test_a_module_of_the_other_namespace_is_trained(tmp_path: Path) -> None:
    """In a process of its own, since an import of pytorch_lightning cannot be taken back."""
    (tmp_path / "theirs.py").write_text(
        "import pytorch_lightning as pl\n"
        "from pytorch_lightning.callbacks import Callback\n"
        "from pytorch_lightning.utilities import rank_zero_only\n"
        "from tests.support.class_door import Whole\n"
        "class Net(pl.LightningModule):\n"
        "    def __init__(self, lr: float = 0.1):\n        super().__init__()\n"
        "class Their(Callback):\n    pass\n"
    )
    program = (
        "import warnings; warnings.simplefilter('error')\n"
        "from orchestrator.training.class_loading import build\n"
        "from orchestrator.training.class_loading.import_paths import import_from\n"
        f"import_from([{str(tmp_path)!r}, {str(ROOT)!r}])\n"
        "import theirs\n"
        "import lightning as L\n"
        "assert isinstance(build({'class_path': 'theirs.Net'}, (L.LightningModule,)), L.LightningModule)\n"
        "assert isinstance(build({'class_path': 'theirs.Their'}, (L.Callback,)), L.Callback)\n"
        "import pytorch_lightning.loggers, lightning.pytorch.loggers\n"
        "assert pytorch_lightning.loggers is lightning.pytorch.loggers\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_optimizer_sections_objects_and_loaders_are_launched_and_exported(tmp_path: Path) -> None:
    sweep = orchestrator.Sweep(
        name="door",
        objective={"metric": "val_loss", "mode": "min"},
        objects={"points": f"{HERE}.points"},
        model={"class_path": f"{HERE}.Bare", "init_args": {"hidden": "${data.batch_size}"}},
        data={"train": "${objects.points}", "val": "${objects.points}"},
        optimizer={"class_path": "Adam"},
        trainer={"max_epochs": 2},
        space={"optimizer.lr": orchestrator.log_uniform(1e-3, 1e-1), "data.batch_size": orchestrator.choice(8, 16)},
        budget={"trials": 2},
    )
    result = sweep.launch(tmp_path, local=True)
    assert [trial.status for trial in result.state.trials.values()] == ["finished", "finished"]
    assert result.state.spec["model"]["class_path"] == f"{HERE}.Bare"
    assert result.state.spec["optimizer"]["class_path"] == "torch.optim.Adam"
