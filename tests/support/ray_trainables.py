"""Functions as Ray Tune's documentation has them, with nothing of this project."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
from ray import train, tune
from ray.air import session
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback

from tests.support.tiny import Tiny, TinyData

EPOCHS = 8


def resuming(config: dict[str, Any]) -> None:
    """Saves with each report, and continues from what it saved."""
    done, loss = 0, 10.0
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            done, loss = json.loads((Path(folder) / "state.json").read_text())
    for epoch in range(done + 1, EPOCHS + 1):
        loss *= 1 - config["lr"]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps([epoch, loss]))
            metrics = {"loss": loss, "resumed": done, "phase": "train", "done": False}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def with_train(config: dict[str, Any]) -> None:
    train.report({"loss": config["lr"]})
    train.report({"loss": config["lr"] / 2})


def with_session(config: dict[str, Any]) -> None:
    assert session.get_checkpoint() is None
    session.report({"loss": config["lr"]})
    session.report({"loss": config["lr"] / 2})


def with_trainer(config: dict[str, Any]) -> None:
    callback = TuneReportCheckpointCallback({"loss": "val_loss"}, on="validation_end")
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, callbacks=[callback])
    trainer.fit(Tiny(config["lr"]), TinyData())
    train.report({"val_loss": trainer.callback_metrics["val_loss"].item()})


def of_folds(config: dict[str, Any]) -> None:
    """Reports a metric of its own after each of several trainings."""
    for fold in range(2):
        trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.fit(Tiny(config["lr"]), TinyData())
        tune.report({"loss": fold + trainer.callback_metrics["val_loss"].item()})


tuner = tune.Tuner(
    tune.with_resources(resuming, {"cpu": 1}),
    tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=6),
    param_space={"lr": tune.uniform(0.1, 0.9)},
)
