"""Draw a training at random from Lightning's features: a module, its data, and the Trainer's arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

_CALLBACKS = "lightning.pytorch.callbacks"
_OWN = "tests.support.random_callbacks"
_BY_STEP = ("onecycle", "cyclic", "scaled", "restarts", "lambda", "warmup", "polynomial")
_KINDS = ("step", "multistep", "exponential", "cosine", "multiplied", "chained", "plateau", "plateau", "own", *_BY_STEP)


@dataclass(frozen=True)
class Case:
    """A training, whatever runs it and wherever it is cut.

    Attributes:
        seed: of the case and of the training.
        model: ``{class_path, init_args}`` of the LightningModule.
        data: the same of a LightningDataModule, or None if the module has loaders of its own.
        trainer: arguments of ``lightning.Trainer``; objects as ``{class_path, init_args}``.
        ends: whether the module's own code ends the training with an error.
        may_be_refused: whether the check before the start must refuse it.
    """

    seed: int
    model: dict[str, Any]
    data: dict[str, Any] | None
    trainer: dict[str, Any] = field(default_factory=dict)
    ends: bool = False
    may_be_refused: bool = False

    def build_model(self) -> Any:
        """Return a new module."""
        return built(self.model)

    def build_data(self) -> Any:
        """Return a new data module, or None."""
        return built(self.data) if self.data else None

    def trainer_arguments(self) -> dict[str, Any]:
        """Return the Trainer's arguments with new objects."""
        return {
            name: [built(each) for each in value] if name == "callbacks" else value
            for name, value in self.trainer.items()
        }


def built(described: dict[str, Any]) -> Any:
    """Return an object of ``{class_path, init_args}``."""
    module, _, name = described["class_path"].rpartition(".")
    return getattr(import_module(module), name)(**described.get("init_args", {}))


def draw_case(seed: int) -> Case:
    """Return the case of a seed."""
    rng = random.Random(f"case {seed}")
    data = _data(rng)
    trainer = _trainer(rng, data)
    plan = _model(rng)
    if "workers" in data:  # their processes take most of a case's time
        trainer["max_epochs"] = 3 if trainer["max_epochs"] > 0 else -1
        data["loaders"] = "one"
    callbacks = _callbacks(rng, plan, trainer)
    if rng.random() < 0.08 and not plan.get("manual") and "workers" not in data:
        callbacks = _finding(rng, plan)
    if trainer.get("check_val_every_n_epoch"):  # or an epoch that ends early has the only validation
        plan["hooks"] = [hook for hook in plan["hooks"] if hook != "skip_rest"]
        for each in plan.get("schedulers", ()):
            each |= {"frequency": 2} if each.get("monitor") == "val_loss" else {}
    if "gradient_clip_val" in trainer or plan["optimizers"][0]["name"] == "lbfgs":
        plan["hooks"] = [hook for hook in plan["hooks"] if hook != "no_loss"]  # which they cannot do without
    if trainer.get("precision") == "64-true":
        callbacks = [each for each in callbacks if not each["class_path"].endswith("EMAWeightAveraging")]
    if any(each["class_path"].endswith("EMAWeightAveraging") for each in callbacks):  # it saves no pruned weights
        callbacks = [each for each in callbacks if not each["class_path"].endswith("ModelPruning")]
    for option in ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches"):
        if plan.get("manual"):
            trainer.pop(option, None)
    if rng.random() < 0.05:
        plan["optimizers"] = [{"name": "fused", "part": "all"}] if not plan.get("manual") else plan["optimizers"]
        plan["hooks"] = [hook for hook in plan["hooks"] if hook not in ("no_loss", "freeze")]
    if rng.random() < 0.06:
        plan["exit"] = {
            "kind": rng.choice(["exit 0", "exit text", "interrupt", "unprintable", "error"]),
            "place": rng.choice(["step", "epoch_start", "validation", "epoch_end"]),
            "epoch": rng.randrange(1, 3),
            "index": 0,
        }
    own_data = rng.random() < 0.25
    if own_data:
        plan["data"] = data
    name = "RandomModuleWithData" if own_data else "RandomModule"
    return Case(
        seed,
        {"class_path": f"tests.support.random_modules.{name}", "init_args": {"plan": plan}},
        None if own_data else {"class_path": "tests.support.random_data.RandomData", "init_args": {"reading": data}},
        {**trainer, "callbacks": callbacks},
        ends="exit" in plan,
        may_be_refused=any(each["class_path"].endswith("Unwritable") for each in callbacks),
    )


def _finding(rng: random.Random, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a finder, and take out of the plan what Lightning's finders cannot load or leave behind."""
    plan["hooks"] = [hook for hook in plan["hooks"] if hook not in ("state", "extra_state", "freeze")]
    plan["metrics"] = [metric for metric in plan["metrics"] if metric != "in_hooks"]
    plan["optimizers"][0]["name"] = "adam"
    for each in plan.get("schedulers", ()):
        each["kind"] = "cosine" if each["kind"] in ("lambda", "own") else each["kind"]
    if rng.random() < 0.5:
        return [{"class_path": f"{_OWN}.QuickFinder", "init_args": {}}]
    options = {"max_trials": 1, "init_val": 2, "steps_per_trial": 1}
    return [{"class_path": f"{_CALLBACKS}.BatchSizeFinder", "init_args": options}]


def _some(rng: random.Random, values: Sequence[str], share: float) -> list[str]:
    return [value for value in values if rng.random() < share]


def _data(rng: random.Random) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "order": rng.choice(["shuffle"] * 3 + ["generator", "weighted", "own batches", "none", "iterable", "sized"]),
        "augment": rng.choice(["", "", "torch", "numpy", "python"]),
        "loaders": rng.choice(["one"] * 7 + ["list", "max_size", "min_size"]),
        "val": rng.choice(["one"] * 3 + ["list", "shuffled"]),
    }
    if rng.random() < 0.05:
        plan |= {"workers": 2, "persistent": rng.random() < 0.5}
    plan |= dict.fromkeys(_some(rng, ["drop_last", "split", "setup_draws", "by_epoch"], 0.2), True)
    return plan


def _trainer(rng: random.Random, data: dict[str, Any]) -> dict[str, Any]:
    trainer: dict[str, Any] = {"max_epochs": rng.choice([3, 3, 4, 5])}
    choices: dict[str, Sequence[Any]] = {
        "accumulate_grad_batches": [2, 3],
        "gradient_clip_val": [0.5],
        "limit_train_batches": [2, 3, 0.8],
        "limit_val_batches": [1],
        "check_val_every_n_epoch": [2],
        "reload_dataloaders_every_n_epochs": [1, 2],
        "num_sanity_val_steps": [2],
        "precision": ["bf16-mixed", "64-true", "32-true"],
        "log_every_n_steps": [1],
        "val_check_interval": [0.5, 2],
        "deterministic": [True],
        "inference_mode": [False],
        "min_epochs": [2],
    }
    for name, values in choices.items():
        if rng.random() < 0.15:
            trainer[name] = rng.choice(values)
    if "gradient_clip_val" in trainer and rng.random() < 0.5:
        trainer["gradient_clip_algorithm"] = "value"
    if rng.random() < 0.07:
        trainer |= {"max_epochs": -1, "max_steps": rng.choice([7, 8, 12])}
    if "max_steps" in trainer:
        trainer.pop("check_val_every_n_epoch", None)  # or the steps may end before the first validation
    if "reload_dataloaders_every_n_epochs" not in trainer:
        data.pop("by_epoch", None)
    if data["order"] == "iterable":
        trainer |= {"limit_train_batches": 3} if isinstance(trainer.get("limit_train_batches"), float) else {}
    if data["order"] in ("iterable", "sized") and (data["order"] == "iterable" or data["augment"]):
        trainer.pop("val_check_interval", None)  # data that draw as the model does have no place within an epoch
    return trainer


def _model(rng: random.Random) -> dict[str, Any]:
    plan: dict[str, Any] = {"rate": rng.choice([0.01, 0.05, 0.2]), "returns": rng.choice(["one", "other"])}
    hooks = ["noise", "no_loss", "epoch_draws", "start_draws", "batch_draws", "skip_rest", "warmup", "freeze", "state",
             "extra_state", "dict_loss", "own_callback"]  # fmt: skip
    metrics = ["nan", "inf", "step_epoch", "sum", "torchmetrics", "last", "dtypes", "collection", "large", "draws",
               "in_hooks", "nan_loss"]  # fmt: skip
    plan |= {"hooks": _some(rng, hooks, 0.2), "metrics": _some(rng, metrics, 0.2)}
    if "in_hooks" in plan["metrics"] and "state" not in plan["hooks"]:
        plan["hooks"].append("state")
    plan |= dict.fromkeys(_some(rng, ["norm", "dropout"], 0.3), True)
    if rng.random() < 0.25:
        _manual(rng, plan)
    else:
        names = ["sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "nadam", "asgd", "odd", "lbfgs"]
        plan["optimizers"] = [{"name": rng.choice(names), "part": rng.choice(["all", "all", "groups"])}]
        if plan["optimizers"][0]["name"] == "lbfgs":
            plan["optimizers"][0]["part"] = "all"
    if plan.get("manual") and "freeze" in plan["hooks"]:
        plan["hooks"].remove("freeze")  # or an optimizer has nothing to train
    _schedulers(rng, plan)
    return plan


def _manual(rng: random.Random, plan: dict[str, Any]) -> None:
    plan["manual"] = True
    plan |= dict.fromkeys(_some(rng, ["toggle", "clip_by_hand"], 0.4), True)
    plan |= {"manual_accumulate": rng.choice([1, 1, 2]), "schedule_by_hand": rng.choice(["step", "epoch"])}
    names = ["sgd", "momentum", "adam", "adamw", "rmsprop", "odd"]
    parts = rng.choice([["all"], ["body", "head"], ["body", "head"]])
    plan["optimizers"] = [{"name": rng.choice(names), "part": part} for part in parts]
    if plan["manual_accumulate"] > 1:  # gradients that outlive an epoch are no part of a checkpoint
        plan["manual_accumulate"] = 2


def _schedulers(rng: random.Random, plan: dict[str, Any]) -> None:
    if rng.random() < 0.25:
        return
    plan["schedulers"] = []
    count = rng.choice([1, 1, 1, 2])
    for number in range(count):
        kind = rng.choice(_KINDS)
        each: dict[str, Any] = {"kind": kind, "optimizer": number % len(plan["optimizers"]), "name": f"rate {number}"}
        each["interval"] = rng.choice(["step", "epoch"]) if kind in (*_BY_STEP, "own") else "epoch"
        each["frequency"] = rng.choice([1, 1, 2])
        if kind == "plateau":
            each |= {"monitor": rng.choice(["val_loss", "train_loss"]), "interval": "epoch"}
            if "last" in plan["metrics"] and rng.random() < 0.5:
                each |= {"monitor": "train_last", "interval": "step"}
        plan["schedulers"].append(each)


def _callbacks(rng: random.Random, plan: dict[str, Any], trainer: dict[str, Any]) -> list[dict[str, Any]]:
    hooks = ["train_start", "epoch_start", "batch_start", "validation_end", "epoch_end"]
    offers: list[tuple[float, str, dict[str, Any]]] = [
        (0.2, f"{_OWN}.OddState", {}),
        (0.2, f"{_OWN}.Draws", {"hooks": _some(rng, hooks, 0.4)}),
        (0.1, f"{_OWN}.SavesToo", {}),
        (0.05, f"{_OWN}.Thaw", {}),
        (0.05, f"{_OWN}.StopsItself", {"epoch": 1}),
        (0.03, f"{_OWN}.Unwritable", {}),
        (0.08, f"{_CALLBACKS}.EarlyStopping", {"monitor": "val_loss", "patience": rng.choice([1, 2])}),
        (0.08, f"{_CALLBACKS}.ModelCheckpoint", {"monitor": "val_loss", "save_top_k": 2, "save_last": True}),
        (0.08, f"{_CALLBACKS}.GradientAccumulationScheduler", {"scheduling": {0: 1, 2: 2}}),
        (0.08, f"{_CALLBACKS}.LearningRateMonitor", {"logging_interval": "step"}),
        (
            0.08,
            f"{_CALLBACKS}.StochasticWeightAveraging",
            {"swa_lrs": 0.01, "swa_epoch_start": rng.choice([1, 2, 0.5])},
        ),
        (0.1, f"{_CALLBACKS}.EMAWeightAveraging", {"decay": 0.8, "use_buffers": rng.random() < 0.5}),
        (0.04, f"{_CALLBACKS}.ModelPruning", {"pruning_fn": "l1_unstructured", "amount": 0.3}),
    ]
    drawn = [{"class_path": path, "init_args": options} for share, path, options in offers if rng.random() < share]
    names = [str(each["class_path"]).rpartition(".")[2] for each in drawn]
    unfit = set()
    if plan.get("manual") or "accumulate_grad_batches" in trainer:
        unfit |= {"GradientAccumulationScheduler"}
    if len(plan["optimizers"]) > 1 or len(plan.get("schedulers", ())) > 1:
        unfit |= {"StochasticWeightAveraging"}
    if plan["optimizers"][0]["part"] != "all" or plan.get("norm"):
        unfit |= {"Thaw"}
    return [each for each, name in zip(drawn, names, strict=True) if name not in unfit]
