"""A module or callback that sets attributes at an epoch's start, cut within the epoch and resumed."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from torch import Tensor

from orchestrator.training import Job
from tests.support import cut_runs
from tests.support.cut_runs import Model, Plans, compared

PLANS = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 3}, seed=3)


class Noting(Model):
    """Sets attributes that ``__init__`` does not, draws one of them, and counts the epochs in one that it saves."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(plan)
        self.starts = 0

    def on_train_epoch_start(self) -> None:
        self.outputs: list[float] = []
        self.scale = random.random()
        self.starts += 1
        self.log("drawn", self.scale)

    def training_step(self, batch: Any, index: int) -> Any:
        loss: Tensor = super().training_step(batch, index)
        self.outputs.append(float(loss.detach()))
        return loss * self.scale

    def on_train_epoch_end(self) -> None:
        self.log("starts", float(self.starts))
        assert self.outputs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["starts"] = self.starts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.starts = checkpoint["starts"]


class EpochTimer(L.Callback):
    """Takes the time of each epoch, as many projects do."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert time.monotonic() >= self.began


@pytest.mark.parametrize("cut", [2, 9])
def test_attributes_of_an_epoch_s_start_are_there_after_a_cut_within_it(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cut_runs.job

    def job(*args: Any, **fields: Any) -> Job:
        each = plain(*args, **fields)
        callbacks = [{"class_path": f"{__name__}.EpochTimer"}]
        model = {**each.model, "class_path": f"{__name__}.Noting"}
        return replace(each, model=model, trainer={**each.trainer, "callbacks": callbacks})

    monkeypatch.setattr(cut_runs, "job", job)
    unbroken = cut_runs.run(tmp_path / "unbroken", PLANS)
    assert len(unbroken.reports) == 3
    resumed = cut_runs.run(tmp_path / "cut", PLANS, (cut,))
    assert compared(unbroken, resumed) == []
