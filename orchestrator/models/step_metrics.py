"""What a classifier logs in a step: the mean loss and accuracy of the batch, weighted so that epochs come out exact."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor


def log_loss_and_accuracy(module: L.LightningModule, stage: str, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
    """Log ``{stage}_loss`` and ``{stage}_acc`` for one batch.

    ``loss`` is the batch's mean (a scalar), ``scores`` (N, classes) float, ``labels`` (N,) int64. Lightning weighs each
    batch by N, so the epoch's value is the mean over samples even where the last batch is smaller. Epoch values only:
    a value a step would be read by nobody in a sweep, and reading it waits for the device. Everything stays a tensor
    on the module's device; nothing is copied to the host.
    """
    accuracy = (scores.detach().argmax(dim=1) == labels).float().mean()
    module.log_dict(
        {f"{stage}_loss": loss.detach(), f"{stage}_acc": accuracy},
        on_step=False,
        on_epoch=True,
        prog_bar=stage == "val",
        batch_size=len(labels),
        sync_dist=stage != "train" and torch.distributed.is_available() and torch.distributed.is_initialized(),
    )
