"""What Lightning's own resume loses: an interrupted training equals the uninterrupted one and a plain Trainer's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.training.fresh_metrics import as_floats
from tests.support.exact_runs import in_segments, judge
from tests.support.random_cases import Case
from tests.support.random_modules import LargeCount

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

_OWN = "tests.support.random_callbacks"
_LIGHTNING = "lightning.pytorch.callbacks"
_SGD = [{"name": "momentum", "part": "all"}]
_TWO = [{"name": "adam", "part": "body"}, {"name": "momentum", "part": "head"}]


def case(model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **trainer: Any) -> Case:
    """Return a case of these features."""
    plan = {"optimizers": _SGD, **(model or {})}
    return Case(
        5,
        {"class_path": "tests.support.random_modules.RandomModule", "init_args": {"plan": plan}},
        {"class_path": "tests.support.random_data.RandomData", "init_args": {"reading": data or {}}},
        {"max_epochs": 3, "callbacks": [], **trainer},
    )


def callback(name: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"class_path": name, "init_args": arguments}]


CASES: dict[str, tuple[Case, list[int]]] = {
    "a callback draws random numbers as an epoch starts": (
        case(callbacks=callback(f"{_OWN}.Draws", hooks=["epoch_start"])), [2],
    ),
    "train_dataloader draws random numbers": (
        case(data={"split": True}, reload_dataloaders_every_n_epochs=1), [1],
    ),
    "train_dataloader depends on the epoch": (
        case(data={"by_epoch": True}, reload_dataloaders_every_n_epochs=2, max_epochs=5), [3],
    ),
    "a finder runs before train_dataloader draws": (
        case(data={"split": True}, callbacks=callback(f"{_OWN}.QuickFinder")), [1],
    ),
    "early stopping in an epoch without validation": (
        case({"hooks": ["skip_rest"]}, max_epochs=4,
             callbacks=callback(f"{_LIGHTNING}.EarlyStopping", monitor="val_loss")), [1],
    ),
    "a scheduler by hand in an epoch without validation": (
        case({"manual": True, "optimizers": _TWO, "schedule_by_hand": "epoch",
              "schedulers": [{"kind": "plateau", "optimizer": 0}]}, check_val_every_n_epoch=2, max_epochs=4), [2],
    ),
    "gradients that manual optimization keeps for the next epoch": (
        case({"manual": True, "manual_accumulate": 2, "toggle": True, "optimizers": _TWO}, {"split": True},
             val_check_interval=2), [1],
    ),
    "max_steps": (
        case(max_epochs=-1, max_steps=12, callbacks=callback(f"{_OWN}.OddState")), [1, 2],
    ),
    "weights of 64 bits": (case(precision="64-true"), [1]),
    "an optimizer state of another type than the weights": (
        case({"optimizers": [{"name": "asgd", "part": "all"}]}, precision="64-true"), [1],
    ),
    "the sanity check": (
        case(num_sanity_val_steps=2, callbacks=callback(f"{_OWN}.Draws", hooks=["validation_end"])), [1],
    ),
    "a plateau scheduler's step that takes a tensor": (
        case({"schedulers": [{"kind": "plateau", "optimizer": 0, "monitor": "val_loss"}]}), [2],
    ),
    "pruning": (
        case(max_epochs=4, callbacks=callback(f"{_LIGHTNING}.ModelPruning", pruning_fn="l1_unstructured", amount=0.3)),
        [2],
    ),
    "weight averaging in its last epoch": (
        case({"norm": True}, callbacks=callback(f"{_LIGHTNING}.StochasticWeightAveraging", swa_lrs=0.01,
                                                swa_epoch_start=1)), [1, 2, 3],
    ),
    "layers that a callback has thawed": (case(max_epochs=5, callbacks=callback(f"{_OWN}.Thaw")), [3, 4]),
    "layers that a hook has frozen": (case({"hooks": ["freeze"], "norm": True}), [2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "-"))
def test_an_interrupted_training_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    trained, cuts = CASES[name]
    verdict = judge(trained, tmp_path, cuts)
    assert verdict.faults == []
    assert verdict.outcome == "exact"


@pytest.mark.slow
@pytest.mark.slow  # it starts a dozen worker processes
def test_persistent_workers_draw_the_numbers_of_their_epoch(tmp_path: Path) -> None:
    data = {"augment": "torch", "workers": 2, "persistent": True}
    verdict = judge(case(data=data), tmp_path, [1, 2])
    assert (verdict.outcome, verdict.faults) == ("exact", [])


def test_the_module_ends_each_epoch_once(tmp_path: Path) -> None:
    """Lightning ended the epoch of the checkpoint again where ``max_steps`` is set."""
    trained = case(max_epochs=-1, max_steps=12, callbacks=callback(f"{_OWN}.OddState"))
    states = in_segments(trained, tmp_path, [1]).states
    assert states[3]["callbacks"]["OddState"]["state"]["set"] == {(0, 0), (1, 1), (2, 2)}


def test_a_metric_of_a_finders_training_is_not_reported(tmp_path: Path) -> None:
    """It was reported as the first epoch's, if that had no validation."""
    trained = case(check_val_every_n_epoch=2, max_epochs=4, callbacks=callback(f"{_OWN}.QuickFinder"))
    assert in_segments(trained, tmp_path).segments == [[2, 4]]


def test_a_metric_that_is_a_large_whole_number_keeps_its_digits() -> None:
    metric = LargeCount()
    metric.update(torch.ones(4))
    metrics = {"count": metric.compute(), "half": torch.tensor(0.5, dtype=torch.float16), "flag": torch.tensor(True)}
    assert as_floats(metrics) == {"count": 2.0**24 + 9, "half": 0.5, "flag": 1.0}
