"""A trial that ends without a report has failed, and its failure says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from orchestrator.errors import ObjectiveError
from orchestrator.sweep import launch
from orchestrator.training import Job, fit
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec:FutureWarning")


class StopsAtTheStart(L.Callback):
    """Ends the training before its first batch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True
        trainer.fit_loop.min_epochs = 0


class SkipsAllEpochs(L.Callback):
    """Leaves no epoch to train."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.fit_loop.max_epochs = 0


def failure(tmp_path: Path, data: str = "tests.support.tiny.TinyData", **trainer: Any) -> ObjectiveError:
    job = Job(
        0, 0, 7, "val_loss", {"class_path": "tests.support.tiny.Tiny", "init_args": {}}, {"class_path": data},
        {"max_epochs": 1, "accelerator": "cpu", **trainer}, str(tmp_path / "run/trials/0000"),
    )  # fmt: skip
    with pytest.raises(ObjectiveError) as caught:
        fit(job, lambda report: True)
    return caught.value


@pytest.mark.parametrize("name", ["StopsAtTheStart", "SkipsAllEpochs"])
def test_a_training_that_ends_before_its_first_batch_fails(name: str, tmp_path: Path) -> None:
    error = failure(tmp_path, callbacks=[{"class_path": f"{__name__}.{name}"}])
    assert error.message == "nothing was trained: the training ended before its first batch"
    assert "no callback stops the Trainer at its start" in error.hint


def test_a_training_without_a_batch_fails(tmp_path: Path) -> None:
    error = failure(tmp_path, data="tests.support.faulty_modules.Empty")
    assert error.message == "nothing was trained: the training data have no batch"
    assert "drop_last" in error.hint


def test_a_sweep_says_why_no_trial_has_a_value(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "callbacks": [{"class_path": f"{__name__}.SkipsAllEpochs"}]}
    outcome = launch(spec(trainer=trainer, budget={"trials": 1}, scheduler="fifo"), tmp_path, local=True)
    assert outcome.exit_code == 1
    trial = outcome.state.trials[0]
    assert trial.status == "failed"
    assert "nothing was trained" in trial.failures[-1].message


@pytest.mark.parametrize(
    ("trainer", "message", "hint"),
    [
        ({"limit_val_batches": 0}, "it logs train_loss", "log it in training_step: no validation runs"),
        ({"check_val_every_n_epoch": 5}, "no validation has run", "let a validation come before the end"),
        ({"val_check_interval": "01:00:00:00"}, "no validation has run", "check_val_every_n_epoch and val_check"),
    ],
)
def test_an_objective_that_no_validation_logs_names_what_prevents_the_validation(
    trainer: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    error = failure(tmp_path, **trainer)
    assert message in error.message
    assert hint in error.hint
    assert error.hint.startswith("set `objective.metric` to one of these, or ") == ("it logs train" in error.message)
