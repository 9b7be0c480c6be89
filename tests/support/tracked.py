"""The tiny module, logging as W&B's users do: steps by ``self.log``, and things of its own through the logger."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.loggers import WandbLogger

from tests.support.tiny import Tiny


class Steps(Tiny):
    """Logs its loss at every step, and nothing through the logger itself."""

    def training_step(self, batch: Any, index: int) -> Any:
        loss = super().training_step(batch, index)
        self.log("step_loss", loss, on_step=True, on_epoch=False)
        return loss


class Own(Steps):
    """Also a number and a picture of its own, once an epoch."""

    def on_train_epoch_end(self) -> None:
        assert isinstance(self.logger, WandbLogger)
        self.logger.experiment.log({"own": float(self.current_epoch)})
        self.logger.log_image("picture", [torch.zeros(1, 4, 4)])
