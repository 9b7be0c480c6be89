"""Trainers as strangers set them up: each must be to a sweep what it is to Lightning, wherever it is cut."""

from __future__ import annotations

from typing import Any

from tests.support.random_cases import Case

_OWN, _LIGHTNING = "tests.support.random_callbacks", "lightning.pytorch.callbacks"
_OWN_NAMES = ("StopsAtBatch", "Thaw", "QuickFinder")
_READING = {"augment": "torch"}
_EARLY = ("EarlyStopping", {"monitor": "val_loss", "patience": 1, "min_delta": 9.0})
_LATER_EARLY = ("EarlyStopping", {"monitor": "val_loss", "patience": 3, "min_delta": 9.0})
_BEST = {"monitor": "val_loss", "save_top_k": 2, "save_last": True}
_SWA = {"swa_lrs": 0.01, "swa_epoch_start": 2}
_LBFGS = [{"name": "lbfgs", "part": "all"}]
_PLATEAU = {"kind": "plateau", "optimizer": 0, "interval": "step"}
_DAY: dict[str, Any] = {"max_epochs": None, "max_time": "01:00:00:00"}
_EVERY: dict[str, Any] = {"check_val_every_n_epoch": None}


def odd(
    trainer: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    *callbacks: tuple[str, dict[str, Any]],
) -> Case:
    """Return a case of four batches an epoch, with these arguments of the Trainer, plans and callbacks."""
    plan = {"optimizers": [{"name": "adam", "part": "all"}], "dropout": True, **(model or {})}
    named = [
        {"class_path": f"{_OWN if name in _OWN_NAMES else _LIGHTNING}.{name}", "init_args": arguments}
        for name, arguments in callbacks
    ]
    return Case(
        5,
        {"class_path": "tests.support.random_modules.RandomModule", "init_args": {"plan": plan}},
        {"class_path": "tests.support.random_data.RandomData", "init_args": {"reading": _READING | (data or {})}},
        {"max_epochs": 3, **(trainer or {}), "callbacks": named},
    )


# Each is cut after three of its batches, which its seed draws.
ODD: dict[str, Case] = {
    "max_time and max_steps": odd({**_DAY, "max_steps": 7, "val_check_interval": 0.5}),
    "max_steps without max_epochs": odd({"max_epochs": -1, "max_steps": 7, "val_check_interval": 2}),
    "max_steps before max_epochs": odd({"max_epochs": 5, "max_steps": 6}),
    "the same two batches again and again": odd({"overfit_batches": 2}),
    "the same half of the batches": odd({"overfit_batches": 0.5, "val_check_interval": 0.5}),
    "a check of all validation data": odd({"num_sanity_val_steps": -1}, {"norm": True, "metrics": ["torchmetrics"]}),
    "a check before epochs without validation": odd(
        {"num_sanity_val_steps": 2, "check_val_every_n_epoch": 2, "max_epochs": 4},
    ),
    "a list of loaders": odd({}, {}, {"loaders": "list", "second": 6}),
    "a dict of loaders": odd({}, {}, {"loaders": "dict", "second": 6}),
    "loaders until the shortest ends": odd({}, {}, {"loaders": "min_size", "second": 10}),
    "loaders until the longest ends": odd({}, {}, {"loaders": "max_size", "second": 6}),
    "a second loader that is longer": odd({}, {}, {"loaders": "max_size_cycle", "second": 30}),
    "a second loader beside a stream": odd({}, {}, {"loaders": "max_size_cycle", "second": 30, "order": "iterable"}),
    "loaders that grow": odd({"reload_dataloaders_every_n_epochs": 1}, {}, {"grows": 5}),
    "loaders that grow every second epoch": odd(
        {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 5, "val_check_interval": 0.5},
        {},
        {"grows": 3, "val_grows": 2},
    ),
    "validation loaders that grow": odd(
        {"reload_dataloaders_every_n_epochs": 3, "max_epochs": 8, "check_val_every_n_epoch": 2}, {}, {"val_grows": 2}
    ),
    "min_epochs": odd({"min_epochs": 4, "max_epochs": 7}, {}, {}, _EARLY),
    "min_epochs within an epoch": odd(
        {"min_epochs": 3, "max_epochs": 7, "val_check_interval": 0.5}, {}, {}, _LATER_EARLY
    ),
    "min_steps": odd({"min_steps": 14, "max_epochs": 7}, {}, {}, _EARLY),
    "min_steps within an epoch": odd(
        {"min_steps": 11, "max_epochs": 7, "val_check_interval": 0.5}, {}, {}, _LATER_EARLY
    ),
    "early stopping within an epoch": odd({"max_epochs": 7, "val_check_interval": 0.5}, {}, {}, _LATER_EARLY),
    "a validation every one and a half epochs": odd({**_EVERY, "val_check_interval": 6, "max_epochs": 5}),
    "a validation every two epochs and a batch": odd(
        {**_EVERY, "val_check_interval": 9, "max_epochs": -1, "max_steps": 21}
    ),
    "a validation at each time": odd({"val_check_interval": {"seconds": 1e-6}}),
    "accumulation by the epoch": odd(
        {"max_epochs": 4, "val_check_interval": 2},
        {},
        {},
        ("GradientAccumulationScheduler", {"scheduling": {1: 2, 2: 4}}),
    ),
    "batches of a sampler's own": odd({}, {}, {"order": "own batches"}),
    "batches that are drawn as they are needed": odd({}, {}, {"order": "lazy batches"}),
    "epochs of different lengths": odd({"max_epochs": 6, "val_check_interval": 2}, {}, {"order": "epoch batches"}),
    "a stop by a callback": odd({"max_epochs": 5}, {}, {}, ("StopsAtBatch", {"at": 6})),
    "a stop by a callback before min_epochs": odd(
        {"max_epochs": 5, "min_epochs": 3}, {}, {}, ("StopsAtBatch", {"at": 6})
    ),
    "a stop that is taken back": odd(
        {"max_epochs": 5, "min_epochs": 3}, {}, {}, ("StopsAtBatch", {"at": 6, "undo": 9})
    ),
    "epochs that a hook ends": odd({"max_epochs": 5, "val_check_interval": 2}, {"hooks": ["skip_rest"]}),
    "steps without a loss": odd({"accumulate_grad_batches": 2}, {"hooks": ["no_loss"]}),
    "averaged weights": odd({"max_epochs": 5}, {}, {}, ("StochasticWeightAveraging", _SWA)),
    "averaged weights with batch norm": odd(
        {"max_epochs": 5, "val_check_interval": 2}, {"norm": True}, {}, ("StochasticWeightAveraging", _SWA)
    ),
    "averaged weights and a schedule": odd(
        {"max_epochs": 5},
        {"schedulers": [{"kind": "step", "optimizer": 0, "interval": "epoch"}]},
        {},
        ("StochasticWeightAveraging", {**_SWA, "annealing_epochs": 3, "annealing_strategy": "linear"}),
    ),
    "a moving average of the weights": odd(
        {"val_check_interval": 0.5, "accumulate_grad_batches": 3},
        {"norm": True},
        {},
        ("EMAWeightAveraging", {"decay": 0.8}),
    ),
    "checkpoints by steps": odd(
        {"accumulate_grad_batches": 2},
        {},
        {},
        ("ModelCheckpoint", {"every_n_train_steps": 2, "save_top_k": -1}),
    ),
    "the best checkpoints by steps": odd(
        {"val_check_interval": 3}, {}, {}, ("ModelCheckpoint", {**_BEST, "every_n_train_steps": 2})
    ),
    "the best checkpoints": odd({"val_check_interval": 2}, {}, {}, ("ModelCheckpoint", _BEST)),
    "a timer": odd({}, {}, {}, ("Timer", {"duration": "01:00:00:00"})),
    "a closure that is called several times": odd(
        {"val_check_interval": 2}, {"optimizers": _LBFGS, "metrics": ["torchmetrics", "step_epoch", "sum"]}
    ),
    "a plateau of training at every second step": odd(
        {}, {"metrics": ["last"], "schedulers": [{**_PLATEAU, "frequency": 2, "monitor": "train_last"}]}
    ),
    "a plateau of validation at every second step": odd(
        {"val_check_interval": 1, "accumulate_grad_batches": 2},
        {"schedulers": [{**_PLATEAU, "frequency": 2, "monitor": "val_loss"}]},
    ),
    "a finder of learning rates": odd({}, {}, {}, ("QuickFinder", {})),
    "a finder where the clock validates": odd({"val_check_interval": {"seconds": 1e-6}}, {}, {}, ("QuickFinder", {})),
    "layers that thaw": odd({"max_epochs": 5}, {}, {}, ("Thaw", {})),
    "pruning": odd({"max_epochs": 4}, {}, {}, ("ModelPruning", {"pruning_fn": "l1_unstructured", "amount": 0.3})),
    "a part of the data": odd({"limit_train_batches": 0.7, "limit_val_batches": 0.5}),
    "a sampler of the user's own": odd({"use_distributed_sampler": False}, {}, {"order": "weighted"}),
}
