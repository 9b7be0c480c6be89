"""A module that logs what it begins and ends an epoch with, so that a takeover can be seen in the journal."""

from __future__ import annotations

from typing import Any

import torch

from tests.support.tiny import Tiny


class Watched(Tiny):
    """Logs its learning rate, its momentum buffer, and its first weight as an epoch begins and as it ends."""

    def __init__(self, learning_rate: float = 0.1, momentum: float = 0.9, cosine: bool = False) -> None:
        super().__init__(learning_rate)
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        chosen = self.hparams
        optimizer = torch.optim.SGD(self.parameters(), lr=chosen["learning_rate"], momentum=chosen["momentum"])
        if not chosen["cosine"]:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs or 1)]

    def on_train_epoch_start(self) -> None:
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        group, state = optimizer.param_groups[0], optimizer.state.get(self.layer.weight, {})
        self.begun = {
            "learning_rate": group["lr"],
            "momentum": group["momentum"],
            "buffer": float(state["momentum_buffer"].detach()[0, 0]) if "momentum_buffer" in state else 0.0,
            "weight_at_start": float(self.layer.weight.detach()[0, 0]),
        }

    def on_validation_epoch_end(self) -> None:
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        buffer = optimizer.state[self.layer.weight]["momentum_buffer"]
        ended = {
            "weight_at_end": float(self.layer.weight.detach()[0, 0]),
            "buffer_at_end": float(buffer.detach()[0, 0]),
        }
        self.log_dict(self.begun | ended)
