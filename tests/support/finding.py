"""A module that logs what finders have set, and a finder of a user's own."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import LearningRateFinder

from tests.support.tiny import Tiny


class OwnFinder(LearningRateFinder):
    """A subclass, as users write them."""


class Found(Tiny):
    """Logs the learning rate and the batch size that it trains with."""

    def validation_step(self, batch: Any, index: int) -> None:
        super().validation_step(batch, index)
        self.log("learning_rate", float(self.hparams["learning_rate"]))
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.log("batch_size", float(data.batch_size))
